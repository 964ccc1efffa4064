// Real programs that tests speak to: from PATH, from .cache, else by the machine's own package tools, without installing.
import { execFile } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const CACHE = join(import.meta.dirname, '../../.cache')
const WITHIN = 300_000

/** A program of a Debian package. `undefined`, said loudly: there is none. */
export const debianProgram = (name: string, file: string): Promise<string | undefined> =>
  program(name, file, async (folder) => {
    const download = () => run('apt-get', ['-qq', 'download', name], { cwd: folder, timeout: WITHIN })
    // A bare machine has no lists of packages yet; whoever is not root cannot fetch them.
    await download().catch(async () => {
      await run('apt-get', ['-qq', 'update'], { timeout: WITHIN })
      await download()
    })
    const [deb = ''] = readdirSync(folder).filter((entry) => entry.endsWith('.deb'))
    await run('dpkg-deb', ['-x', deb, '.'], { cwd: folder, timeout: WITHIN })
  })

/** A program that Go builds of a module. `undefined`, said loudly: there is none. */
export const goProgram = (name: string, module: string): Promise<string | undefined> =>
  program(name, name, async (folder) => {
    await run('go', ['install', module], {
      cwd: folder,
      env: { ...process.env, GOBIN: folder, CGO_ENABLED: '0' },
      timeout: WITHIN,
    })
  })

/** A Python with a package, in an environment of its own. `undefined`, said loudly: there is none. */
export const pythonWith = (name: string, requirement: string): Promise<string | undefined> =>
  program(name, 'bin/python3', async (folder) => {
    await run('python3', ['-m', 'venv', '--copies', folder], { timeout: WITHIN })
    await run(join(folder, 'bin/python3'), ['-m', 'pip', 'install', '-q', requirement], { timeout: WITHIN })
  })

async function program(
  name: string,
  file: string,
  make: (folder: string) => Promise<void>,
): Promise<string | undefined> {
  const onPath = (process.env.PATH ?? '').split(delimiter).find((folder) => existsSync(join(folder, name)))
  if (onPath) return join(onPath, name)
  const kept = join(CACHE, name)
  if (existsSync(join(kept, file))) return join(kept, file)
  let folder: string | undefined
  try {
    await mkdir(CACHE, { recursive: true })
    folder = await mkdtemp(join(CACHE, 'part-'))
    await make(folder)
    if (!existsSync(join(folder, file))) throw new Error(`there is no ${file} in it`)
    // Another test may have been as quick.
    await rename(folder, kept).catch((error: Error) => {
      if (!existsSync(join(kept, file))) throw error
    })
    return join(kept, file)
  } catch (error) {
    console.warn(
      `SKIPPED: what needs ${name}; there is none, and none could be made: ${(error as Error).message}`,
    )
    return undefined
  } finally {
    if (folder !== undefined) await rm(folder, { recursive: true, force: true })
  }
}
