// Builds the policy bundle.
//   node tools/bundle.ts            writes bundles/default.tar.gz
//   node tools/bundle.ts --check    fails where the committed bundle is not what the sources make
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildPolicy, CAPABILITIES, LIBRARY } from '../src/edge/bundles/build.ts'
import { opaAt } from '../src/edge/opa.ts'
import { opaPath } from './opa.ts'

const BUNDLE = fileURLToPath(new URL('../bundles/default.tar.gz', import.meta.url))
const DATA = fileURLToPath(new URL('../bundles/default', import.meta.url))

/** @returns the revision, a digest of the sources */
export async function buildBundle(output: string): Promise<string> {
  const { revision } = await buildPolicy(opaAt(await opaPath()), {
    folders: [DATA],
    library: LIBRARY,
    capabilities: CAPABILITIES,
    output,
    revision: undefined,
    entrypoints: [],
    path: 'mcp/main/decision',
    more: [],
  })
  return revision
}

/** Undefined where the committed bundle is what the sources make, else what is wrong with it. */
export async function checkBundle(): Promise<string | undefined> {
  const folder = await mkdtemp(join(tmpdir(), 'bundle-'))
  try {
    const built = join(folder, 'bundle.tar.gz')
    await buildBundle(built)
    const committed = await readFile(BUNDLE).catch(() => undefined)
    if (!committed) return 'bundles/default.tar.gz is missing: run `npm run bundle` and commit it'
    if (committed.equals(await readFile(built))) return undefined
    return 'bundles/default.tar.gz is not what the sources make: run `npm run bundle` and commit it'
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function main(): Promise<void> {
  if (process.argv.includes('--check')) {
    const problem = await checkBundle()
    if (problem) throw new Error(problem)
    process.stdout.write('bundles/default.tar.gz is what the sources make\n')
    return
  }
  process.stdout.write(`bundles/default.tar.gz ${await buildBundle(BUNDLE)}\n`)
}

if (import.meta.main) {
  try {
    await main()
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error)
    process.stderr.write(`${text}\n`)
    process.exitCode = 1
  }
}
