// Finds the `opa` command that the Rego tools run, and makes one where there is none.
//   node tools/opa.ts        prints its path
import { execFile } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import { accessSync, constants } from 'node:fs'
import { chmod, mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)

export const OPA_VERSION = '1.22.2'
const MINOR = OPA_VERSION.slice(0, OPA_VERSION.lastIndexOf('.') + 1)

const CHECKOUT = fileURLToPath(new URL('..', import.meta.url))
const CACHE = join(CHECKOUT, '.cache', 'opa')
const EXE = process.platform === 'win32' ? '.exe' : ''
const CACHED = join(CACHE, `opa-${OPA_VERSION}${EXE}`)

const ANSWER_WITHIN_MS = 5_000
const DOWNLOAD_WITHIN_MS = 120_000
const BUILD_WITHIN_MS = 30 * 60_000

/** The path of an `opa` of the right version: from PATH, the cache, the official release, or built with Go. */
export async function opaPath(): Promise<string> {
  const installed = onPath(`opa${EXE}`)
  if (installed && (await isRightVersion(installed))) return installed
  if (await isRightVersion(CACHED)) return CACHED

  const failures: string[] = []
  for (const [name, make] of [
    ['download', download],
    ['go build', goBuild],
  ] as const) {
    try {
      await intoCache(make)
      return CACHED
    } catch (error) {
      failures.push(`  ${name}: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  throw new Error(
    [
      `No opa ${MINOR}x was found, and none could be made:`,
      ...failures,
      `Install OPA ${OPA_VERSION} so that \`opa\` is on PATH (https://www.openpolicyagent.org/docs#1-download-opa),`,
      'or install Go 1.26 or later and run this again.',
    ].join('\n'),
  )
}

function onPath(name: string): string | undefined {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    if (!folder) continue
    const candidate = join(folder, name)
    try {
      accessSync(candidate, constants.X_OK)
      return candidate
    } catch {
      // Not in this folder.
    }
  }
  return undefined
}

async function isRightVersion(path: string): Promise<boolean> {
  try {
    const { stdout } = await run(path, ['version'], { timeout: 20_000 })
    return stdout.startsWith(`Version: ${MINOR}`)
  } catch {
    return false
  }
}

/** Makes the file beside its place and renames it: another process never sees half of it. */
async function intoCache(make: (path: string) => Promise<void>): Promise<void> {
  await mkdir(CACHE, { recursive: true })
  const part = join(CACHE, `part-${randomUUID()}${EXE}`)
  try {
    await make(part)
    await chmod(part, 0o755)
    if (!(await isRightVersion(part))) throw new Error(`what was made is not opa ${MINOR}x`)
    await rename(part, CACHED)
  } finally {
    await rm(part, { force: true })
  }
}

async function download(path: string): Promise<void> {
  const base = `https://openpolicyagent.org/downloads/v${OPA_VERSION}/${releaseName()}`
  const wanted = /^[0-9a-f]{64}/.exec(
    Buffer.from(await get(`${base}.sha256`, ANSWER_WITHIN_MS)).toString(),
  )?.[0]
  if (!wanted) throw new Error('the published checksum could not be read')
  const body = await get(base, DOWNLOAD_WITHIN_MS)
  const found = createHash('sha256').update(body).digest('hex')
  if (found !== wanted) throw new Error(`checksum is ${found}, published is ${wanted}`)
  await writeFile(path, body)
}

function releaseName(): string {
  const cpu = { x64: 'amd64', arm64: 'arm64' }[process.arch as string]
  const system = { linux: 'linux', darwin: 'darwin', win32: 'windows' }[process.platform as string]
  if (!cpu || !system) throw new Error(`no release for ${process.platform} ${process.arch}`)
  if (system === 'windows') return `opa_windows_${cpu}.exe`
  return `opa_${system}_${cpu}_static`
}

async function get(url: string, within: number): Promise<Uint8Array> {
  const answer = await fetch(url, { signal: AbortSignal.timeout(within) }).catch((error: unknown) => {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error)
    throw new Error(`${url}: ${cause}`)
  })
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`)
  return new Uint8Array(await answer.arrayBuffer())
}

async function goBuild(path: string): Promise<void> {
  if (!onPath(`go${EXE}`)) throw new Error('go is not installed')
  process.stderr.write(`building opa ${OPA_VERSION} with go; this is done once and can take some minutes\n`)
  await run('go', ['build', '-o', path, 'github.com/open-policy-agent/opa'], {
    cwd: join(CHECKOUT, 'tools', 'opa'),
    env: { ...process.env, CGO_ENABLED: '0' },
    timeout: BUILD_WITHIN_MS,
    maxBuffer: 16 * 1024 * 1024,
  })
}

if (import.meta.main) {
  try {
    process.stdout.write(`${await opaPath()}\n`)
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
    process.exitCode = 1
  }
}
