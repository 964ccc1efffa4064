import { once } from 'node:events'
import { setPriority } from 'node:os'
import { parentPort, Worker, workerData } from 'node:worker_threads'
import { sendRaw } from '../../test/support/raw.ts'

type Asked = { port: number; bytes: string | Buffer }
export type Told = { status: number | undefined; body: string; ms: number }
export type Apart = { ask: (asked: Asked) => Promise<Told>; close: () => Promise<unknown> }

/** So that a test in a thread of its own is not taken for this one. */
const APART = 'apart'

/** One question at a time, measured in a thread that does nothing else: the load beside it has no part in the time. */
export async function startApart(): Promise<Apart> {
  const worker = new Worker(new URL(import.meta.url), { workerData: APART })
  await once(worker, 'message')
  return {
    async ask(asked) {
      worker.postMessage(asked)
      return (await once(worker, 'message'))[0] as Told
    },
    close: () => worker.terminate(),
  }
}

if (workerData === APART && parentPort) {
  const port = parentPort
  try {
    // Of this thread alone. Where it is not allowed, the load beside it may make an answer seem later than it was.
    setPriority(0, -20)
  } catch {}
  port.on('message', async ({ port: to, bytes }: Asked) => {
    const sent = typeof bytes === 'string' ? bytes : Buffer.from(bytes)
    const began = performance.now()
    const { answers } = await sendRaw(to, sent, { timeout: 10_000 })
    const ms = performance.now() - began
    port.postMessage({ status: answers[0]?.status, body: answers[0]?.body ?? '', ms } satisfies Told)
  })
  port.postMessage('ready')
}
