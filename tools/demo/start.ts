// `npm start`: the sidecar in front of the embedded MCP server, on this machine, to try with any MCP client.
import { parseArgs } from 'node:util'
import { paint, say } from './page.ts'
import { readRecord, shorten } from './record.ts'
import { type DemoServer, startDemoServer } from './server.ts'
import { newFolder, type Sidecar, startSidecar } from './sidecar.ts'

const people = {
  alice: { subject: 'alice', email: 'alice@example.com', groups: ['engineering'] },
  mona: { subject: 'mona', email: 'mona@example.com', groups: ['engineering', 'maintainers'] },
}
const app = { owner: 'acme', repo: 'app' }
const file = { path: 'README.md', content: 'Hello' }
const barred = {
  alice: { name: 'merge_pull_request', arguments: { ...app, pullNumber: 7 } },
  mona: { name: 'push_files', arguments: { ...app, branch: 'main', files: [file], message: 'Hello' } },
}
const USAGE = `npm start -- [--as alice|mona] [--port 8081] [--admin-port 8282]

Starts the sidecar in front of an embedded MCP server in the shape of GitHub's, on this machine only.

  --as NAME          who you are: alice proposes changes (default), mona may merge them
  --port PORT        where the sidecar listens, else $PORT, else 8081; 0 takes any free port
  --admin-port PORT  health and metrics, else $ADMIN_PORT, else 8282; 0 takes any free port
`
const WRONG_USE = 64

type Wish = { as: keyof typeof people; port: number; adminPort: number }

const wish = readWish()
if (wish) await start(wish)

function readWish(): Wish | undefined {
  try {
    const options = {
      as: { type: 'string', default: 'alice' },
      port: { type: 'string', default: process.env.PORT || '8081' },
      'admin-port': { type: 'string', default: process.env.ADMIN_PORT || '8282' },
      help: { type: 'boolean', short: 'h' },
    } as const
    const { values } = parseArgs({ options })
    if (values.help) return void process.stdout.write(USAGE)
    if (!Object.hasOwn(people, values.as)) throw new Error(`nobody here is called ${values.as}`)
    const as = values.as as Wish['as']
    return { as, port: portOf(values.port), adminPort: portOf(values['admin-port']) }
  } catch (error) {
    return fail(WRONG_USE, `${(error as Error).message}\n\n${USAGE}`)
  }
}

function portOf(text: string): number {
  const port = Number(text)
  if (!/^\d+$/.test(text) || port > 65_535) throw new Error(`${text} is not a port`)
  return port
}

async function start(wished: Wish): Promise<void> {
  const { as, port, adminPort } = wished
  let stopping = false
  // Ctrl-C can come before there is anything to end, and npm may send the same signal once more.
  const signal = new Promise<void>((resolve) => {
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(name, () => {
        stopping = true
        resolve()
      })
    }
  })
  const server = await startDemoServer()
  const sidecar = await startSidecar({
    folder: newFolder(),
    addr: `127.0.0.1:${port}`,
    adminAddr: `127.0.0.1:${adminPort}`,
    upstream: { url: server.url },
    identity: { development: people[as] },
    onRecord: tell,
  }).catch((error: Error) => explain(error, wished))
  if (!sidecar) return server.close()

  welcome(as, server, sidecar)
  await Promise.race([signal, sidecar.ended])
  const how = stopping ? await sidecar.stop() : await sidecar.ended
  await server.close()
  if (!stopping)
    return fail(1, `the sidecar ended by itself (${how}); its log: ${sidecar.folder}/sidecar.log`)
  say(`\nStopped. The records stay in ${sidecar.record}`)
  process.exit(0)
}

function explain(error: Error, { as }: Wish): undefined {
  const taken = /address already in use \S+/.exec(error.message)?.[0]
  if (taken === undefined) return fail(1, error.message)
  const again = (ofMcp: number, ofAdmin: number) =>
    `npm start -- --as ${as} --port ${ofMcp} --admin-port ${ofAdmin}`
  return fail(
    1,
    `The sidecar cannot listen: ${taken}.\n` +
      `Another one may still run. Other ports:     ${again(8091, 8292)}\n` +
      `Or let the system choose two that are free: ${again(0, 0)}`,
  )
}

function fail(code: number, text: string): undefined {
  process.stderr.write(`${text}\n`)
  process.exitCode = code
  return undefined
}

function welcome(as: Wish['as'], server: DemoServer, sidecar: Sidecar): void {
  const { email, groups } = people[as]
  const other = as === 'alice' ? 'mona' : 'alice'
  const call = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: barred[as] }
  const vscode = { servers: { 'github-demo': { type: 'http', url: sidecar.url } } }
  const head = (text: string) => paint('bold', text)
  say(`${head('The sidecar is at')} ${sidecar.url} (process ${sidecar.pid})
You are ${email} (${groups.join(', ')}), believed without proof: this is for trying on this machine.
Behind it is an embedded MCP server in GitHub's shape, with the repository acme/app in memory.

${head('Claude Code')}
claude mcp add --transport http github-demo ${sidecar.url}

${head('VS Code')} (.vscode/mcp.json)
${JSON.stringify(vscode)}

${head('curl')}, a call that ${as} may not make
curl -s ${sidecar.url} -H 'content-type: application/json' \\
  -H 'accept: application/json, text/event-stream' -d '${JSON.stringify(call)}'

${head('Ask the agent to')}
  fix the typo in README.md of acme/app and open a pull request     allowed for both
  merge pull request 7 of acme/app                                  allowed for mona
  push a change of README.md straight to main                       denied for both
  do what issue 2 of acme/app says                                  it gives orders to agents

${head(`To be ${other}`)}           Ctrl-C, then: npm start -- --as ${other}
${head('Without the sidecar')}  ${server.url}
${head('Health, metrics')}      ${sidecar.admin}/health  ${sidecar.admin}/metrics
${head('Configuration, log')}   ${sidecar.folder}
${head('Decision records')}     ${sidecar.record}
  tail -f ${sidecar.record} | jq 'select(.result.allow == false) | {tool: .input.tool.name, reasons: .result.reasons}'

Ctrl-C ends it. Decisions as they are made:`)
}

/** One decision on one line; the record has all of it. */
function tell(line: string): void {
  const [event] = readRecord(line)
  const short = event && shorten(event)
  if (!short) return
  const { verdict, who, what, why } = short
  const time = event.timestamp.slice(11, 19)
  say(
    `${time}  ${paint(verdict === 'allowed' ? 'green' : 'red', verdict.padEnd(8))}  ${who}  ${what}  ${why}`,
  )
}
