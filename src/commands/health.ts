import { type Command, WrongUse } from './command.ts'

const DEFAULT = '127.0.0.1:8282'
/** Milliseconds for an answer: a health check of a container has a few seconds for all of it. */
const WAIT = 2_000

export const command: Command = {
  usage: `Usage: mcp-opa-sidecar health [--addr HOST:PORT]

Asks a running sidecar for /health?bundles&plugins: 0 if it is ready, 1 with the reason if not. For images without a shell.

Options:
  -a, --addr HOST:PORT     where plugins.mcp.admin_addr is, ${DEFAULT} if it is not set
`,
  options: { addr: { type: 'string', short: 'a', default: DEFAULT } },
  async run({ values }, { stdout, stderr }) {
    const url = `http://${values.addr}/health?bundles&plugins`
    if (!URL.canParse(url)) throw new WrongUse(`--addr ${values.addr}: must be host:port`)
    try {
      const answer = await fetch(url, { signal: AbortSignal.timeout(WAIT), redirect: 'error' })
      const text = await answer.text()
      if (answer.status === 200) {
        stdout.write('ready\n')
        return 0
      }
      stderr.write(`not ready: ${text.slice(0, 1000)}\n`)
    } catch (error) {
      const { message, cause } = error as Error
      stderr.write(`no answer from ${values.addr}: ${cause instanceof Error ? cause.message : message}\n`)
    }
    return 1
  },
}
