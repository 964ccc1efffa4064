// What a release consists of, and whether it may be one: npm run release:check
// Writes .cache/release: the package, an SBOM, the licences of what runs in production, and SHA-256 sums of these.
import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const CHECKOUT = fileURLToPath(new URL('..', import.meta.url))
const FOLDER = join(CHECKOUT, '.cache/release')
/** Licences under which the package may be given on. */
const ALLOWED = new Set(['Apache-2.0', 'MIT', 'ISC', 'BSD-2-Clause', 'BSD-3-Clause', '0BSD', 'BlueOak-1.0.0'])

type Locked = { version?: string; dev?: boolean; optional?: boolean; devOptional?: boolean }
type Manifest = { name: string; version: string; license?: string }
const read = (path: string) => readFileSync(join(CHECKOUT, path), 'utf8')
const npm = (...args: string[]) =>
  execFileSync('npm', args, {
    cwd: CHECKOUT,
    encoding: 'utf8',
    maxBuffer: 64 << 20,
    stdio: ['ignore', 'pipe', 'pipe'],
  })

export function checkChangelog(version: string, changelog: string): string[] {
  const [first = ''] = /^## .*$/m.exec(changelog) ?? []
  return first.startsWith(`## ${version} `) || first === `## ${version}`
    ? []
    : [`CHANGELOG.md begins with "${first}", package.json has ${version}`]
}

/** @returns a line for each package that runs in production, and what may not be given on */
export function licences(): { lines: string[]; faults: string[] } {
  const lock = JSON.parse(read('package-lock.json')) as { packages: Record<string, Locked> }
  const lines: string[] = []
  const faults: string[] = []
  for (const [path, { dev, devOptional, optional }] of Object.entries(lock.packages)) {
    if (path === '' || dev || devOptional || optional || !existsSync(join(CHECKOUT, path, 'package.json')))
      continue
    const { name, version, license } = JSON.parse(read(join(path, 'package.json'))) as Manifest
    lines.push(`${name} ${version}: ${license ?? 'none said'}`)
    if (license === undefined || !ALLOWED.has(license))
      faults.push(`${name} ${version} has the licence ${license}`)
  }
  return { lines: lines.sort(), faults }
}

type Bom = {
  components: { name: string; version: string; 'bom-ref': string }[]
  dependencies: { ref: string; dependsOn?: string[] }[]
}

/**
 * CycloneDX of what runs in production. `npm sbom --omit=dev` leaves out what a development package needs as well, so all
 * is asked for and the rest taken out here.
 * @param lines of the licences, one for each package
 */
function sbom(lines: string[]): string {
  const bom = JSON.parse(npm('sbom', '--sbom-format=cyclonedx')) as Bom & {
    metadata: { component: { 'bom-ref': string } }
  }
  const wanted = new Set(lines.map((line) => line.slice(0, line.indexOf(':'))))
  bom.components = bom.components.filter(({ name, version }) => wanted.has(`${name} ${version}`))
  const refs = new Set([...bom.components.map((one) => one['bom-ref']), bom.metadata.component['bom-ref']])
  bom.dependencies = bom.dependencies
    .filter(({ ref }) => refs.has(ref))
    .map(({ ref, dependsOn = [] }) => ({ ref, dependsOn: dependsOn.filter((on) => refs.has(on)) }))
  const missing = wanted.size - bom.components.length
  if (missing > 0) throw new Error(`the SBOM lacks ${missing} packages`)
  return `${JSON.stringify(bom, null, 2)}\n`
}

export type Audit = { asked: true; faults: string[] } | { asked: false; why: string }

/**
 * What `npm audit --json` said.
 * @param status its exit code: 0 where it asked and there is nothing, else what it printed tells whether it asked
 */
export function readAudit(status: number | null, stdout: string): Audit {
  let told: { metadata?: { vulnerabilities?: Record<string, number> }; message?: string } = {}
  try {
    told = JSON.parse(stdout)
  } catch {
    // No answer that can be read.
  }
  const found = told.metadata?.vulnerabilities
  if (!found) return { asked: false, why: told.message ?? 'npm audit gave no answer' }
  if (status === 0) return { asked: true, faults: [] }
  return { asked: true, faults: [`npm audit: ${JSON.stringify(found)}`] }
}

function audit(): Audit {
  const { stdout, status } = spawnSync('npm', ['audit', '--omit=dev', '--json'], {
    cwd: CHECKOUT,
    encoding: 'utf8',
  })
  return readAudit(status, stdout)
}

function main(): number {
  const say = (text: string) => void process.stdout.write(`${text}\n`)
  const { version } = JSON.parse(read('package.json')) as Manifest
  const { lines, faults } = licences()
  const audited = audit()
  faults.push(...checkChangelog(version, read('CHANGELOG.md')), ...(audited.asked ? audited.faults : []))
  // A release that nobody asked about must be wanted so, in words.
  if (!audited.asked && process.env.MCP_RELEASE_UNAUDITED !== '1')
    faults.push('vulnerabilities were not asked for; MCP_RELEASE_UNAUDITED=1 goes on without')
  rmSync(FOLDER, { recursive: true, force: true })
  mkdirSync(FOLDER, { recursive: true })
  npm('pack', '--ignore-scripts=false', '--pack-destination', FOLDER)
  writeFileSync(join(FOLDER, 'sbom.cdx.json'), sbom(lines))
  writeFileSync(join(FOLDER, 'LICENCES.txt'), `${lines.join('\n')}\n`)
  const sums = readdirSync(FOLDER)
    .sort()
    .map(
      (name) =>
        `${createHash('sha256')
          .update(readFileSync(join(FOLDER, name)))
          .digest('hex')}  ${name}`,
    )
  writeFileSync(join(FOLDER, 'SHA256SUMS'), `${sums.join('\n')}\n`)
  for (const line of sums) say(line)
  if (!audited.asked)
    say(`NOT ASKED: whether vulnerabilities are known of what runs in production (${audited.why})`)
  for (const fault of faults) say(`FAULT: ${fault}`)
  say(faults.length === 0 ? `.cache/release has ${version}` : 'this is no release yet')
  return faults.length === 0 ? 0 : 1
}

if (import.meta.main) process.exitCode = main()
