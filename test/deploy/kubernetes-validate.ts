import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
const cache = fileURLToPath(new URL('../../.cache/kubernetes-validate', import.meta.url))
const program = join(cache, 'bin/kubernetes-validate')

/** The schemas of several Kubernetes versions, from PyPI, set up once per checkout. @returns why not, where it cannot be */
export async function installValidator(): Promise<string | undefined> {
  if (existsSync(program)) return undefined
  try {
    await run('python3', ['-m', 'venv', cache], { timeout: 60_000 })
    const pip = ['install', '--quiet', '--disable-pip-version-check', 'kubernetes-validate==1.37.0']
    await run(join(cache, 'bin/pip'), pip, { timeout: 150_000 })
    return undefined
  } catch (error) {
    return (error as Error).message.split('\n')[0] ?? 'no reason'
  }
}

/** @returns what is wrong with the file for this version; empty if nothing is */
export async function validate(file: string, version: string): Promise<string> {
  try {
    await run(program, ['--strict', '-k', version, file], { timeout: 60_000 })
    return ''
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string }
    return `${stdout}${stderr}` || (error as Error).message
  }
}
