import { once } from 'node:events'
import { Agent, type IncomingMessage, request } from 'node:http'
import { text } from 'node:stream/consumers'

export type Asked = { port: number; headers: Record<string, string | undefined>; body: object }
export type Told = { status: number | undefined; body: string; ms: number }

/** Milliseconds after which there is no answer. */
const TIMEOUT = 10_000

/** POSTs to `/mcp` over connections that are kept, as a proxy keeps them: much less work than one for each. */
export function createKept() {
  const agent = new Agent({ keepAlive: true })
  return {
    async ask({ port, headers, body }: Asked): Promise<Told> {
      const bytes = JSON.stringify(body)
      const began = performance.now()
      const signal = AbortSignal.timeout(TIMEOUT)
      try {
        const sent = request({ port, path: '/mcp', method: 'POST', agent, headers, signal })
        sent.end(bytes)
        const [answer] = (await once(sent, 'response')) as [IncomingMessage]
        const told = await text(answer)
        return { status: answer.statusCode, body: told, ms: performance.now() - began }
      } catch {
        return { status: undefined, body: '', ms: performance.now() - began }
      }
    },
    close: () => agent.destroy(),
  }
}
