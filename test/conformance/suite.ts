import { spawn } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildBundle, mainPolicy } from '../support/policy.ts'
import { type Sidecar, startSidecar } from '../support/sidecar.ts'

const modules = fileURLToPath(new URL('../../node_modules/', import.meta.url))
const STABLE = join(modules, '@modelcontextprotocol/conformance/dist/index.js')
const NEWEST = join(modules, 'conformance-alpha/dist/index.js')

/** The suite's runs against a server, each with the version of the suite that knows the revision. */
export const RUNS = [
  { name: '0.1.16, all', program: STABLE, args: ['--suite', 'all'] },
  ...['2025-11-25', '2026-07-28'].map((revision) => ({
    name: `0.2.0-alpha.12, required of ${revision}`,
    program: NEWEST,
    args: ['--requirements', revision],
  })),
  ...['2026-07-28', '2025-06-18', '2025-03-26'].map((revision) => ({
    name: `0.2.0-alpha.12, all of ${revision}`,
    program: NEWEST,
    args: ['--suite', 'all', '--spec-version', revision],
  })),
] as const
export type Run = (typeof RUNS)[number]

/** Statuses of the checks of each scenario, in order: `{ping: ['ping SUCCESS']}`. */
export type Results = Map<string, string[]>

type Check = { id: string; status: string; errorMessage?: string }

/** One run of the suite against a server. Rejects if it wrote nothing. */
export const runSuite = ({ program, args }: Run, url: string): Promise<Results> =>
  runProgram(program, ['server', '--url', url, ...args])

/** Scenarios of the suite for clients, but for authorization, which is Pomerium's. */
export const CLIENT_SCENARIOS: [scenario: string, version: string][] = [
  ['initialize', '2025-11-25'],
  ['tools_call', '2025-11-25'],
  ['tools_call', '2026-07-28'],
  ['elicitation-sep1034-client-defaults', '2025-11-25'],
  ['sse-retry', '2025-11-25'],
  ['request-metadata', '2026-07-28'],
  ['sep-2322-client-request-state', '2026-07-28'],
  ['http-standard-headers', '2026-07-28'],
  ['http-custom-headers', '2026-07-28'],
  ['http-invalid-tool-headers', '2026-07-28'],
  ['json-schema-ref-no-deref', '2026-07-28'],
  ['json-schema-2020-12-preservation', '2025-11-25'],
  ['json-schema-2020-12-preservation', '2026-07-28'],
]

/** One scenario with our client against the suite's server, directly or through a sidecar. */
export function runClient(scenario: string, version: string, through: boolean): Promise<Results> {
  const client = `${process.execPath} ${fileURLToPath(new URL('client.ts', import.meta.url))}`
  const command = through ? `${client} --through` : client
  return runProgram(NEWEST, [
    'client',
    '--command',
    command,
    '--scenario',
    scenario,
    '--spec-version',
    version,
  ])
}

async function runProgram(program: string, args: string[]): Promise<Results> {
  const folder = await mkdtemp(join(tmpdir(), 'mcp-conformance-'))
  try {
    const child = spawn(process.execPath, [program, ...args, '-o', folder], {
      stdio: ['ignore', 'ignore', 'pipe'],
      timeout: 120_000,
    })
    let stderr = ''
    child.stderr.on('data', (chunk) => {
      stderr += chunk
    })
    const code = await new Promise((resolve) => child.once('close', resolve))
    const results: Results = new Map()
    for (const entry of (await readdir(folder)).sort()) {
      const scenario = entry.replace(/^server-/, '').replace(/-\d{4}-\d\d-\d\dT[\dZ-]+$/, '')
      const checks = JSON.parse(await readFile(join(folder, entry, 'checks.json'), 'utf8')) as Check[]
      results.set(
        scenario,
        checks.map(
          ({ id, status, errorMessage }) =>
            `${id} ${status}${status === 'SUCCESS' ? '' : ` ${stable(errorMessage)}`}`,
        ),
      )
    }
    if (results.size === 0) throw new Error(`the suite ended with ${code} and wrote nothing: ${stderr}`)
    return results
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Ports and ids differ from run to run. */
const stable = (message = ''): string => message.replace(/127\.0\.0\.1:\d+/g, 'server').slice(0, 300)

export const count = (results: Results) => {
  const all = [...results.values()].flat()
  const of = (status: string) => all.filter((check) => check.split(' ')[1] === status).length
  return { scenarios: results.size, checks: all.length, passed: of('SUCCESS'), failed: of('FAILURE') }
}

/** A log of what passed, in an order that is chance where a client does two things at once; no checks. */
const isInfo = (line: string) => line.split(' ')[1] === 'INFO'
const inOrder = (checks: string[] = []) => [
  ...checks.filter((line) => !isInfo(line)),
  ...checks.filter(isInfo).sort(),
]

/** Scenarios whose checks are not the same in both, with both sides. */
export function differences(
  direct: Results,
  through: Results,
): Record<string, { direct?: string[]; through?: string[] }> {
  const found: Record<string, { direct?: string[]; through?: string[] }> = {}
  for (const scenario of new Set([...direct.keys(), ...through.keys()])) {
    const [a, b] = [direct.get(scenario), through.get(scenario)]
    if (JSON.stringify(inOrder(a)) !== JSON.stringify(inOrder(b)))
      found[scenario] = { ...(a && { direct: a }), ...(b && { through: b }) }
  }
  return found
}

/** A sidecar that evaluates a policy which allows everything and records every decision. */
export async function startAllowAll(upstream: string): Promise<Sidecar> {
  const bundle = await buildBundle({ 'main.rego': mainPolicy('answer := {"allow": true}') })
  // The origin of a page of this machine has the port in it.
  const port = await freePort()
  const sidecar = await startSidecar({
    upstream,
    config: {
      bundles: { mcp: { resource: bundle.path } },
      plugins: {
        mcp: {
          addr: `127.0.0.1:${port}`,
          allowed_origins: [`http://127.0.0.1:${port}`, `http://localhost:${port}`],
          allowed_hosts: ['127.0.0.1', 'localhost', '[::1]'],
          identity: { issuer: null, audience: null, development: { subject: 'conformance' } },
        },
      },
    },
  })
  return {
    ...sidecar,
    async stop(signal) {
      const code = await sidecar.stop(signal)
      await bundle.dispose()
      return code
    },
  }
}

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer()
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo
      server.close(() => resolve(port))
    })
  })
