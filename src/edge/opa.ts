import { execFile } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join, resolve } from 'node:path'

/** Policies are built and tested by OPA itself; another minor version makes other bytes and has other builtins. */
export const OPA_MINOR = '1.22.'

/** A complaint of `opa`, or that there is none of the right version; the text says what to do. */
export class OpaError extends Error {
  override name = 'OpaError'
}

export type Opa = (args: string[], cwd: string) => Promise<{ code: number; stdout: string; stderr: string }>

/**
 * `opa` by its path, or the first on PATH, if it is of the right version.
 * @throws OpaError
 */
export async function findOpa(given: string | undefined, path: string | undefined): Promise<Opa> {
  const file = given === undefined ? onPath(path ?? '') : resolve(given)
  const how = `needs opa ${OPA_MINOR}x (https://www.openpolicyagent.org/docs#1-download-opa), on PATH or by --opa FILE`
  if (file === undefined) throw new OpaError(`there is no opa on PATH: this ${how}`)
  const opa = opaAt(file)
  const { code, stdout, stderr } = await opa(['version'], '.')
  const version = /^Version: (\S+)/m.exec(stdout)?.[1]
  if (code !== 0 || version === undefined)
    throw new OpaError(`${file} is not opa: this ${how}${stderr === '' ? '' : `\n${stderr}`}`)
  if (!version.startsWith(OPA_MINOR)) throw new OpaError(`${file} is opa ${version}: this ${how}`)
  return opa
}

/** What `opa` says is wrong, on either stream; without what it says of manifests that it is not to read. */
export const complaintOf = (stdout: string, stderr: string): string =>
  `${stderr}\n${stdout}`.replace(/^Warning: \.manifest file found.*$/gm, '').trim()

export const opaAt =
  (file: string): Opa =>
  (args, cwd) =>
    new Promise((answer) => {
      execFile(file, args, { cwd, maxBuffer: 256 << 20 }, (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : 1
        answer({
          code,
          stdout,
          stderr: stderr === '' && error !== null && stdout === '' ? error.message : stderr,
        })
      })
    })

function onPath(path: string): string | undefined {
  for (const folder of path.split(delimiter)) {
    for (const name of ['opa', 'opa.exe']) {
      const file = join(folder, name)
      try {
        accessSync(file, constants.X_OK)
        if (folder !== '') return file
      } catch {
        // Not in this folder.
      }
    }
  }
  return undefined
}
