// What the sidecar costs, measured in one run on loopback against a transparent proxy and an OPA server.
//   node bench/bench.ts [--quick] [--seconds N] [--rounds N] [--only NAME,…] [--kind call|list] [--at N,…] [--profile FOLDER]
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { opaPath } from '../tools/opa.ts'
import { type Algorithm, createMint, HOST, type Mint } from './assertions.ts'
import { load, type Target } from './load.ts'
import { file, type Part, processorSeconds, residentMb, startNode, startOther } from './processes.ts'
import { AS_JAVASCRIPT, type Cell, type Memory, report } from './report.ts'
import { writeStripped } from './stripped.ts'
import { faultOf, KINDS, type Kind, requestsOf } from './traffic.ts'

/** What is measured, asked with assertions of `algorithm`; undefined: it does not look at them. */
type Variant = { name: string; algorithm: Algorithm | undefined; part: Part }

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    seconds: { type: 'string' },
    rounds: { type: 'string' },
    only: { type: 'string' },
    kind: { type: 'string' },
    at: { type: 'string' },
    profile: { type: 'string' },
  },
})
const quick = values.quick
const seconds = Number(values.seconds ?? (quick ? 0.6 : 1.5))
const warmUp = quick ? 0.3 : 0.5
const rounds = Number(values.rounds ?? (quick ? 1 : 3))
const idleSeconds = quick ? 3 : 30
const kinds = KINDS.filter((kind) => values.kind === undefined || values.kind === kind)
const concurrencies = (values.at ?? '1,16,64').split(',').map(Number)
const wanted = values.only?.split(',')

const folder = mkdtempSync(join(tmpdir(), 'mcp-opa-sidecar-bench-'))
const running: Part[] = []
const skipped: string[] = []
process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
process.once('SIGINT', () => void close().then(() => process.exit(130)))
try {
  await main()
} finally {
  await close()
}

async function main(): Promise<void> {
  const mint = await createMint()
  writeFileSync(join(folder, 'jwks.json'), mint.jwks)
  cpSync(file('../bundles/default.tar.gz'), join(folder, 'bundle.tar.gz'))
  const variants = await startAll()
  const script = writeStripped(join(folder, 'stripped'))
  const stripped = await startNode(script, ['run', '-c', configFor('stripped', 'http://127.0.0.1:9/mcp')])
  running.push(stripped)
  const memory = new Map<string, Memory>()
  await mint.fill('ES256', 4000)
  await mint.fill('RS256', 4000)
  say(`waiting ${idleSeconds} s for the processes to be idle`)
  await sleep(idleSeconds * 1000)
  for (const { name, part } of variants) memory.set(name, { idle: residentMb(part.pid), loaded: undefined })
  memory.set(AS_JAVASCRIPT, { idle: residentMb(stripped.pid), loaded: undefined })
  await stripped.stop()
  // Each person has seen the list of tools, as a client has before it calls one; and the code is compiled.
  for (const variant of variants) {
    for (const kind of KINDS) await load(targetOf(variant, kind, mint), 16, 0, quick ? 0.5 : 2)
  }

  const cells: Cell[] = []
  for (let round = 1; round <= rounds; round++) {
    await mint.fill('ES256', enough(9_000))
    await mint.fill('RS256', enough(3_000))
    for (const kind of kinds) {
      for (const concurrency of concurrencies) {
        say(`round ${round} of ${rounds}: ${kind} at ${concurrency}`)
        for (const variant of variants) {
          cells.push(await measure(variant, kind, concurrency, round, mint))
          const seen = memory.get(variant.name) as Memory
          seen.loaded = Math.max(seen.loaded ?? 0, residentMb(variant.part.pid) ?? 0)
        }
      }
    }
  }
  process.stdout.write(
    report({ cells, memory, skipped, seconds, rounds, idleSeconds, reused: mint.reused(), concurrencies }),
  )
}

/** Assertions for one round, of each algorithm. If the sidecar takes more, some are used again, and the report says so. */
function enough(perSecond: number): number {
  return Math.round(perSecond * (seconds + warmUp) * kinds.length)
}

async function measure(
  variant: Variant,
  kind: Kind,
  concurrency: number,
  round: number,
  mint: Mint,
): Promise<Cell> {
  const before = processorSeconds(variant.part.pid)
  const measured = await load(targetOf(variant, kind, mint), concurrency, warmUp, seconds).catch(
    (error: Error) => {
      throw new Error(`${variant.name}, ${kind} at ${concurrency}: ${error.message}`)
    },
  )
  const after = processorSeconds(variant.part.pid)
  const answered = measured.calls * (1 + warmUp / seconds)
  const processor =
    before === undefined || after === undefined ? undefined : ((after - before) / answered) * 1e6
  return { variant: variant.name, kind, concurrency, round, processor, ...measured }
}

function targetOf({ part, algorithm }: Variant, kind: Kind, mint: Mint): Target {
  const request = requestsOf(kind, part.path)
  return {
    host: part.host,
    port: part.port,
    request: (n) => request(n, algorithm === undefined ? mint.any : mint.next(algorithm)),
    fault: (n, body) => faultOf(kind, n, body),
  }
}

async function startAll(): Promise<Variant[]> {
  const keep = (part: Part): Part => {
    running.push(part)
    return part
  }
  const upstream = keep(await startNode('upstream.ts', []))
  const url = `http://${upstream.host}:${upstream.port}${upstream.path}`
  const variants: Variant[] = []
  const add = async (name: string, algorithm: Algorithm | undefined, start: () => Promise<Part>) => {
    if (wanted && !wanted.includes(name)) return
    say(`starting ${name}`)
    variants.push({ name, algorithm, part: keep(await start()) })
  }
  const variant = (name: string, ...args: string[]) =>
    startNode('variant.ts', [name, configFor(name, url), ...args])

  await add('direct', undefined, async () => upstream)
  await add('proxy', undefined, () => startNode('proxy.ts', [url]))
  const profile = values.profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${values.profile}`]
  const sidecar = () => startNode('../src/main.ts', ['run', '-c', configFor('sidecar', url)], profile)
  await add('sidecar ES256', 'ES256', sidecar)
  await add('sidecar RS256', 'RS256', async () => {
    const same = variants.find(({ name }) => name === 'sidecar ES256')
    return same?.part ?? sidecar()
  })
  await add('main thread', 'ES256', () => variant('main-thread'))
  await add('remote OPA', 'ES256', async () => {
    const opa = await startOpa()
    return variant('remote-opa', `http://127.0.0.1:${keep(opa).port}`)
  }).catch((error: Error) => {
    skipped.push(`remote OPA: ${error.message}`)
  })
  return variants
}

async function startOpa(): Promise<Part> {
  const args = ['-b', 'rego', '-b', 'bundles/default', '--ignore', '*_test.rego', '--log-level', 'error']
  return startOther(
    await opaPath(),
    (port) => ['run', '--server', '--addr', `127.0.0.1:${port}`, ...args],
    '/health',
  )
}

function configFor(name: string, url: string): string {
  const spool = join(folder, `spool-${name}`)
  mkdirSync(spool)
  const config = {
    bundles: { mcp: { resource: join(folder, 'bundle.tar.gz') } },
    plugins: {
      mcp: {
        addr: '127.0.0.1:0',
        admin_addr: '127.0.0.1:0',
        server: 'github',
        upstream: { url },
        identity: { jwks_file: join(folder, 'jwks.json'), issuer: HOST, audience: HOST },
        // Everything here shares two processors or few more: no evaluation is to be stopped for that.
        evaluation: { deadline: '1s' },
        // One person asks as much as the machine can do.
        limits: { per_second: 1_000_000, identity_per_second: 1_000_000, identity_in_flight: 1024 },
      },
      mcp_audit: { buffer: { type: 'disk', path: spool } },
    },
  }
  const path = join(folder, `${name}.json`)
  writeFileSync(path, JSON.stringify(config))
  return path
}

function say(text: string): void {
  process.stderr.write(`${text}\n`)
}

async function close(): Promise<void> {
  await Promise.all(running.splice(0).map((part) => part.stop()))
}
