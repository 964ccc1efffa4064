import { createHash } from 'node:crypto'
import { cp, mkdtemp, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { loadPolicyFiles, type Policy } from '../judge/bundle.ts'
import { complaintOf, type Opa, OpaError } from '../opa.ts'

/** What comes with the program: the library of rules, and what a policy may call. */
const shipped = (path: string): string => fileURLToPath(new URL(`../../../${path}`, import.meta.url))
export const LIBRARY = shipped('rego')
export const CAPABILITIES = shipped('bundles/capabilities.json')

export type Sources = {
  /** folders of the team, each with a `.manifest` that names its roots */
  folders: string[]
  /** the folder of the library, or undefined for none */
  library: string | undefined
  /** with the tests of the folders, which are not part of a bundle */
  tests?: boolean
}

/** A copy of the sources under names of its own. */
export type Staged = { cwd: string; bundles: string[]; dispose: () => Promise<void> }

/**
 * Names of files are in the module, for messages; they must not tell of the machine, or the same sources would make
 * other bytes elsewhere.
 */
export async function stage({ folders, library, tests = false }: Sources): Promise<Staged> {
  const cwd = await mkdtemp(join(tmpdir(), 'mcp-opa-sidecar-'))
  const bundles: string[] = []
  const copy = async (from: string, name: string, withTests: boolean) => {
    await cp(resolve(from), join(cwd, name), {
      recursive: true,
      dereference: true,
      filter: async (source) =>
        isPart(source, withTests) || (!isHidden(source) && (await stat(source)).isDirectory()),
    })
    bundles.push(name)
  }
  try {
    if (library !== undefined) await copy(library, 'library', false)
    for (const [i, folder] of folders.entries())
      await copy(folder, i === 0 ? 'policy' : `policy${i + 1}`, tests)
  } catch (error) {
    await rm(cwd, { recursive: true, force: true })
    throw error
  }
  return { cwd, bundles, dispose: () => rm(cwd, { recursive: true, force: true }) }
}

/** What `opa build` would pack. */
const isPart = (file: string, tests: boolean): boolean =>
  /(^|[\\/])(data\.(json|ya?ml)|\.manifest)$/.test(file) ||
  (file.endsWith('.rego') && (tests || !file.endsWith('_test.rego')))

/** Such as `.git`, or `..data` of a mounted ConfigMap, which has all files twice. */
const isHidden = (file: string): boolean => /[\\/]\.[^\\/]*$/.test(file)

/** Names the sources by their content, so that the same sources have the same revision. */
export async function revisionOf({ cwd, bundles }: Pick<Staged, 'cwd' | 'bundles'>, capabilities: string) {
  const hash = createHash('sha256')
  const add = (name: string, content: Buffer) => hash.update(`${name}\0${content.length}\0`).update(content)
  add('capabilities', await readFile(capabilities))
  for (const bundle of bundles) {
    const entries = await readdir(join(cwd, bundle), { recursive: true, withFileTypes: true })
    const files = entries
      .filter((entry) => entry.isFile())
      .map((entry) =>
        join(entry.parentPath, entry.name)
          .slice(cwd.length + 1)
          .replaceAll('\\', '/'),
      )
    for (const file of files.sort()) add(file, await readFile(join(cwd, file)))
  }
  return `sha256:${hash.digest('hex').slice(0, 12)}`
}

export type Build = Sources & {
  output: string
  /** undefined: the digest of the sources */
  revision: string | undefined
  capabilities: string
  /** beside those that the metadata of rules names */
  entrypoints: string[]
  /** the entrypoint of decisions, which must be there */
  path: string
  /** of `opa build`, such as those for signing */
  more: string[]
}

/**
 * Compiles, and loads what came out as the sidecar would: entrypoints, builtins, memory and canaries. Only then is the
 * file put in its place. No `-O`: optimised modules are larger and slower here.
 * @throws OpaError, BundleError
 */
export async function buildPolicy(opa: Opa, build: Build): Promise<{ revision: string; policy: Policy }> {
  const staged = await stage(build)
  const part = `${resolve(build.output)}.part`
  try {
    const revision = build.revision ?? (await revisionOf(staged, build.capabilities))
    const args = ['build', '--target', 'wasm', '--capabilities', resolve(build.capabilities)]
    for (const bundle of staged.bundles) args.push('--bundle', bundle)
    for (const entrypoint of build.entrypoints) args.push('--entrypoint', entrypoint)
    const { code, stdout, stderr } = await opa(
      [...args, '--revision', revision, ...build.more, '--output', part],
      staged.cwd,
    )
    if (code !== 0) throw new OpaError(`opa build: ${complaintOf(stdout, stderr)}`)
    const policy = await loadPolicyFiles({ bundle: part }, build.path)
    await rename(part, build.output)
    return { revision, policy }
  } finally {
    await rm(part, { force: true })
    await staged.dispose()
  }
}
