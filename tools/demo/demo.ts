// The demonstration: the same agent with the same token, straight to an MCP server and then through the sidecar.
// Whatever is printed was observed in this run; where it is not as told, the run ends with exit code 1.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { merge, type Step, sideRoads, startAgent, type Tried, task } from './agent.ts'
import { paint, say, wrap } from './page.ts'
import { createStandIn, type Person } from './pomerium.ts'
import { type Event, readRecord, shorten } from './record.ts'
import { type DemoServer, startDemoServer } from './server.ts'
import { newFolder, type Sidecar, startSidecar } from './sidecar.ts'

const LIMIT_MS = 60_000
const token = 'demo-token-with-every-right'
const host = 'mcp-github.localhost.pomerium.io'
const alice: Person = { subject: 'alice', email: 'alice@example.com', name: 'Alice', groups: ['engineering'] }
const mona: Person = {
  subject: 'mona',
  email: 'mona@example.com',
  name: 'Mona',
  groups: ['engineering', 'maintainers'],
}

const fine = paint('green', '✓ done   ')
const harm = paint('yellow', '! done   ')
const denial = paint('red', '✗ denied ')
const refusal = paint('red', '✗ refused')

const tooLate = setTimeout(() => end(new Error(`it took longer than ${LIMIT_MS / 1000} s`)), LIMIT_MS)
try {
  await play()
  clearTimeout(tooLate)
} catch (error) {
  end(error as Error)
}

function end(error: Error): never {
  process.stderr.write(`\nThe demonstration did not go as told: ${error.message}\n`)
  process.exit(1)
}

/** A claim of the demonstration, checked. */
function must(holds: boolean, claim: string): void {
  if (!holds) throw new Error(`this does not hold: ${claim}`)
}

async function play(): Promise<void> {
  say(paint('bold', 'One agent, one token that may do everything, and a policy in between'))
  say(
    wrap(
      'The agent is a script behind a real MCP client. The MCP server has the shape of GitHub’s and keeps the ' +
        'repository acme/app in memory. The sidecar is the real one.',
      '',
    ),
  )
  const shown = await before()

  const folder = newFolder()
  const server = await startDemoServer()
  const pomerium = await createStandIn(host)
  const jwks = join(folder, 'jwks.json')
  writeFileSync(jwks, JSON.stringify(pomerium.jwks))
  const sidecar = await startSidecar({
    folder,
    addr: '127.0.0.1:0',
    adminAddr: '127.0.0.1:0',
    upstream: { url: server.url, authorization: 'forward' },
    identity: { jwks_file: jwks, issuer: host, audience: host },
  })
  try {
    const ofAlice = await after(sidecar, server, pomerium.through(alice, token), shown)
    const ofMona = await merged(sidecar, server, pomerium.through(mona, token))
    await strangers(sidecar, server)
    must((await sidecar.stop()) === 'exit code 0', 'the sidecar ends cleanly')
    theRecord(sidecar, server, [...ofAlice, ofMona])
  } finally {
    await sidecar.stop()
    await server.close()
  }
}

async function before(): Promise<string[]> {
  heading(
    'BEFORE',
    'agent ──▶ MCP server',
    'The token may do everything, and nothing looks at what it is used for.',
  )
  const server = await startDemoServer()
  const start = server.repository.state()
  const atStart = server.repository.commits({ sha: 'main', perPage: 100 }).length
  const withToken: typeof fetch = (input, init) => {
    const headers = new Headers(init?.headers)
    headers.set('authorization', `Bearer ${token}`)
    return fetch(input, { ...init, headers })
  }
  const agent = await startAgent(server.url, withToken)
  const tools = await agent.tools()
  say(`  sees ${tools.length} tools`)
  const tried = await attempt(agent, task.slice(0, 1))
  showOrders(tried[0]!.text)
  tried.push(...(await attempt(agent, task.slice(1))))
  const number = lastPull(server)
  tried.push(...(await attempt(agent, [merge(number)], harm)))
  say('  and by every side road:')
  tried.push(...(await attempt(agent, sideRoads, harm)))
  await agent.close()

  const state = server.repository.state()
  must(
    tried.every((one) => !one.failed),
    'without a policy every call is done',
  )
  must(server.calls.length === tried.length, 'every call arrived')
  must(
    server.calls.every((call) => call.authorization),
    'the token came with every call',
  )
  must(state.main.commit !== start.main.commit, 'main moved')
  must(isMerged(server, number) && isMerged(server, 8), `#${number} and #8 are merged`)
  const runs = state.workflowRuns.map(({ workflow_id }) => workflow_id)
  must(runs.join() === 'deploy.yml', 'deploy.yml was started')
  const commits = server.repository.commits({ sha: 'main', perPage: 100 }).length - atStart
  say(
    wrap(
      `${paint('red', 'Result:')} main moved from ${short(start.main.commit)} to ${short(state.main.commit)} ` +
        `(${commits} commits), #${number} and #8 are merged, ${runs.join()} is started.`,
      '  ',
    ),
  )
  await server.close()
  return tools
}

async function after(
  sidecar: Sidecar,
  server: DemoServer,
  asAlice: typeof fetch,
  shown: string[],
): Promise<Tried[]> {
  heading(
    'AFTER',
    'agent ──▶ Pomerium (a stand-in for its signer) ──▶ mcp-opa-sidecar ──▶ MCP server',
    `The same agent for ${alice.email}, in group ${alice.groups.join()}; the same token; a fresh copy of the server.`,
  )
  const start = server.repository.state()
  const agent = await startAgent(sidecar.url, asAlice)
  const tools = await agent.tools()
  const gone = shown.filter((name) => !tools.includes(name))
  must(gone.includes('merge_pull_request'), 'merge_pull_request is not shown')
  must(
    tools.every((name) => shown.includes(name)),
    'nothing is shown that was not there before',
  )
  say(`  sees ${tools.length} of ${shown.length} tools; gone are`)
  say(wrap(gone.join(', '), '    '))

  const proposed = await attempt(agent, task)
  const number = lastPull(server)
  must(
    proposed.every((one) => !one.failed),
    'alice may propose a change',
  )
  must(number > start.pullRequests.at(-1)!.number, 'the pull request is there')
  const merging = await attempt(agent, [merge(number)])
  say('    what the agent reads:')
  say(paint('dim', wrap(merging[0]!.text, '    │ ')))
  say('  and by every side road:')
  const sideways = await attempt(agent, sideRoads)
  await agent.close()

  const barred = [...merging, ...sideways]
  must(
    barred.every((one) => one.failed && one.text.startsWith('Denied by policy.')),
    'the merge and every side road are denied',
  )
  must(
    server.calls.map((call) => call.tool).join() === proposed.map((one) => one.tool).join(),
    'the server got the proposal and nothing else',
  )
  must(
    server.calls.every((call) => call.authorization),
    'the token came with every call that was let through',
  )
  untouched(server, start, number)
  say(
    wrap(
      `${paint('green', 'Result:')} of ${proposed.length + barred.length} calls ${server.calls.length} reached the ` +
        `server, ${barred.length} did not. main is still ${short(server.repository.state().main.commit)}, ` +
        `#${number} is open, no workflow runs.`,
      '  ',
    ),
  )
  return [...proposed, ...barred]
}

function untouched(
  server: DemoServer,
  start: ReturnType<DemoServer['repository']['state']>,
  opened: number,
): void {
  const { repository } = server
  const state = repository.state()
  must(JSON.stringify(state.main) === JSON.stringify(start.main), 'main is untouched')
  must(state.workflowRuns.length === 0, 'no workflow was started')
  const others = state.pullRequests.filter(({ number }) => number !== opened)
  must(
    JSON.stringify(others) === JSON.stringify(start.pullRequests),
    'the other pull requests are as they were',
  )
  must(state.pullRequests.find(({ number }) => number === opened)?.state === 'open', `#${opened} is open`)
  const seven = repository.pull(7)
  must(seven.reviews === 0 && seven.comments === 0, 'nobody reviewed or commented on #7')
  const written = [...repository.files('agent/fix-readme').keys()]
  must(!written.includes('.github/workflows/merge.yml'), 'no workflow file was written')
}

async function merged(sidecar: Sidecar, server: DemoServer, asMona: typeof fetch): Promise<Tried> {
  say()
  say(`  ${paint('bold', mona.email)}, in groups ${mona.groups.join(' and ')}:`)
  const { commit } = server.repository.state().main
  const agent = await startAgent(sidecar.url, asMona)
  const tools = await agent.tools()
  must(tools.includes('merge_pull_request'), 'mona is shown merge_pull_request')
  say(`  sees ${tools.length} tools`)
  const number = lastPull(server)
  const [tried] = await attempt(agent, [merge(number)])
  await agent.close()
  const { main } = server.repository.state()
  must(!tried!.failed && isMerged(server, number), 'mona may merge')
  must(main.commit !== commit, 'main moved by the merge')
  say(`  main is now at ${short(main.commit)}: “${main.message.split('\n')[0]}”`)
  return tried!
}

async function strangers(sidecar: Sidecar, server: DemoServer): Promise<void> {
  say()
  say(`  ${paint('bold', 'Past Pomerium')}, from inside the network, with the token:`)
  const arrived = server.calls.length
  const forger = await createStandIn(host)
  const body = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'get_me', arguments: {} } }
  const ask = async (what: string, assertion: Record<string, string>, expected: string) => {
    const headers = {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      authorization: `Bearer ${token}`,
      ...assertion,
    }
    const response = await fetch(sidecar.url, { method: 'POST', headers, body: JSON.stringify(body) })
    const { error } = (await response.json()) as { error?: { message: string; data: { reason: string } } }
    must(response.status === 403 && error?.data.reason === expected, `${what} is refused`)
    row(refusal, `${what}:`, `HTTP ${response.status}`)
    say(paint('dim', wrap(error!.message, '    │ ')))
  }
  await ask('asks without an assertion', {}, 'assertion_missing')
  const forged = await forger.mint(mona)
  const header = { 'x-pomerium-jwt-assertion': forged }
  await ask('calls itself mona, signed by itself', header, 'assertion_signature')
  must(server.calls.length === arrived, 'the server heard nothing of it')
}

function theRecord(sidecar: Sidecar, server: DemoServer, tried: Tried[]): void {
  heading('THE RECORD', sidecar.record, 'One JSON object a line; here who, what and why of it.')
  const text = readFileSync(sidecar.record, 'utf8')
  const events = readRecord(text)
  const decided = events.filter(
    ({ custom, input }) => custom.event === 'decision' && input?.method === 'tools/call',
  )
  const refused = events.filter(({ custom }) => custom.event === 'reject')
  table([...decided, ...refused])

  const allowed = decided.filter(({ result }) => result?.allow)
  must(decided.length === tried.length, 'there is one decision for each call')
  tried.forEach((one, at) => {
    const { input, result, decision_id } = decided[at]!
    must(
      input?.tool?.name === one.tool && result?.allow === !one.failed,
      `call ${at + 1} is recorded as it went`,
    )
    must(!one.failed || one.text.includes(decision_id), 'the agent reads the id of the record')
  })
  must(allowed.length === server.calls.length, 'what was let through is what the server got')
  const outcomes = new Set(
    events.filter(({ custom }) => custom.event === 'outcome').map((one) => one.decision_id),
  )
  must(
    allowed.every(({ decision_id }) => outcomes.has(decision_id)),
    'each allowed call has its outcome',
  )
  must(refused.length === 2, 'both refusals are recorded')
  must(!text.includes(token), 'the token is not in the record')
  say(
    wrap(
      `${decided.length} decisions (${allowed.length} allowed, ${decided.length - allowed.length} denied) for ` +
        `${tried.length} calls, ${refused.length} refusals. Each denial carries the id that the agent was given; each ` +
        'allowed call has its outcome beside it; the token is nowhere in it.',
      '  ',
    ),
  )
}

function table(events: Event[]): void {
  const heads = { verdict: '', who: 'who', what: 'what', why: 'why', revision: 'policy' }
  const rows = [heads, ...events.map((event) => shorten(event)!)]
  const wide = (key: keyof typeof heads) => Math.max(...rows.map((cells) => cells[key].length))
  for (const cells of rows) {
    const { verdict, who, what, why, revision } = cells
    const line = [
      verdict.padEnd(wide('verdict')),
      who.padEnd(wide('who')),
      what.padEnd(wide('what')),
      why.padEnd(wide('why')),
      revision,
    ].join(' ')
    say(cells === heads ? paint('dim', line) : paint(verdict === 'allowed' ? 'green' : 'red', line))
  }
}

/** Tries and tells. */
async function attempt(
  agent: Awaited<ReturnType<typeof startAgent>>,
  steps: Step[],
  success = fine,
): Promise<Tried[]> {
  const tried: Tried[] = []
  for (const one of steps) {
    const result = await agent.attempt(one)
    const code = /\[(\w+)\]/.exec(result.text)?.[1]
    row(result.failed ? denial : success, one.what, result.failed ? (code ?? result.text) : '', one.tool)
    tried.push(result)
  }
  return tried
}

function row(mark: string, what: string, why: string, tool = ''): void {
  const call = tool === '' ? what : what.padEnd(25) + tool.padEnd(37)
  say(`  ${mark} ${call} ${why}`.trimEnd())
}

function showOrders(issue: string): void {
  const orders = /Note to automated assistants:[^"]*/.exec(issue)?.[0]
  must(orders !== undefined, 'the issue gives orders to agents')
  say(paint('dim', wrap(`issue #2, by a stranger: “… ${orders}”`, '    │ ')))
}

function heading(name: string, way: string, text: string): void {
  say()
  say(`${paint('bold', name)}  ${way}`)
  say(wrap(text, '  '))
}

function lastPull(server: DemoServer): number {
  return server.repository.state().pullRequests.at(-1)?.number ?? 0
}

function isMerged(server: DemoServer, number: number): boolean {
  return server.repository.pull(number).merged
}

function short(commit: string): string {
  return commit.slice(0, 7)
}
