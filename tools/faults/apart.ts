import { once } from 'node:events'
import { setPriority } from 'node:os'
import { parentPort, Worker, workerData } from 'node:worker_threads'
import { type Asked, createKept, type Told } from './kept.ts'

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
  const kept = createKept()
  port.on('message', async (asked: Asked) => port.postMessage(await kept.ask(asked)))
  port.postMessage('ready')
}
