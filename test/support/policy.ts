import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { opaPath } from '../../tools/opa.ts'

const run = promisify(execFile)

/** Why there is no `opa`, said loudly; undefined: there is one. For `describe.skipIf`. */
export const noOpa: string | undefined = await opaPath().then(
  () => undefined,
  (error: Error) => {
    console.warn(`SKIPPED: policies for tests are built with opa, and there is none.\n${error.message}`)
    return error.message
  },
)

/** Builds a bundle of a few lines of Rego with the real `opa`; returns its path. The folder goes with `dispose`. */
export async function buildBundle(
  files: Record<string, string>,
  args: string[] = [],
): Promise<{ path: string; dispose: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'mcp-policy-'))
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, 'src', name)), { recursive: true })
    await writeFile(join(folder, 'src', name), text)
  }
  const path = join(folder, 'bundle.tar.gz')
  await run(await opaPath(), ['build', '-t', 'wasm', '-o', path, '-b', 'src', ...args], { cwd: folder })
  return { path, dispose: () => rm(folder, { recursive: true, force: true }) }
}

/** Rego that asks whether to go on, takes no memory, and is at it for hours. */
export const ENDLESS =
  '[1 | l := numbers.range(1, 4000); some a in l; some b in l; some c in l; a < b; b < c; c < a]'

/** Rego that is in one builtin of the host for seconds, and does not ask. */
export const STUCK =
  'regex.find_n("(.{1,30}){1,30}[0-9]", concat("", ["a line of the text that is put together" | some n in numbers.range(1, 3000)]), 1)'

/** A policy with both entrypoints; `rules` adds to `mcp.main`. */
export const mainPolicy = (rules: string, contract: number | string = 1): string => `package mcp.main

# METADATA
# entrypoint: true
# scope: document
# custom:
#   contract: ${contract}
decision := object.union({"allow": false, "reasons": []}, answer)

# METADATA
# entrypoint: true
# scope: document
visible := {sprintf("%d", [i]): true | some i, item in input.items; item.key != "hidden"}

${rules}
`
