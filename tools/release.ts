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

/** @returns faults; where the registry cannot be asked, that is said and is none */
function audit(say: (text: string) => void): string[] {
  const { stdout, status } = spawnSync('npm', ['audit', '--omit=dev', '--json'], {
    cwd: CHECKOUT,
    encoding: 'utf8',
  })
  if (status === 0) return []
  try {
    const told = JSON.parse(stdout) as { metadata?: { vulnerabilities: Record<string, number> } }
    if (told.metadata) return [`npm audit: ${JSON.stringify(told.metadata.vulnerabilities)}`]
  } catch {
    // No answer that can be read.
  }
  say('SKIPPED: npm audit, for the registry cannot be asked')
  return []
}

function main(): number {
  const say = (text: string) => void process.stdout.write(`${text}\n`)
  const { version } = JSON.parse(read('package.json')) as Manifest
  const { lines, faults } = licences()
  faults.push(...checkChangelog(version, read('CHANGELOG.md')), ...audit(say))
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
  for (const fault of faults) say(`FAULT: ${fault}`)
  say(faults.length === 0 ? `.cache/release has ${version}` : 'this is no release yet')
  return faults.length === 0 ? 0 : 1
}

if (import.meta.main) process.exitCode = main()
