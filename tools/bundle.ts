// Builds the policy bundle.
//   node tools/bundle.ts            writes bundles/default.tar.gz
//   node tools/bundle.ts --check    fails where the committed bundle is not what the sources make
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { opaPath } from './opa.ts'

const run = promisify(execFile)

const CHECKOUT = fileURLToPath(new URL('..', import.meta.url))
const BUNDLE = 'bundles/default.tar.gz'
export const CAPABILITIES = 'bundles/capabilities.json'
const SOURCES = ['rego', 'bundles/default']

/** Compiles the sources to `output`. No -O: optimised modules are larger and slower here. */
export async function buildBundle(output: string): Promise<void> {
  // The folders are relative to the checkout: their names are in the module, which must not vary by machine.
  const args = ['build', '--target', 'wasm', '--capabilities', CAPABILITIES, '--ignore', '*_test.rego']
  for (const source of SOURCES) args.push('--bundle', source)
  args.push('--revision', await revision(), '--output', output)
  await run(await opaPath(), args, { cwd: CHECKOUT })
}

/** Names the sources by their content, so that two checkouts with the same sources make the same bundle. */
async function revision(): Promise<string> {
  const hash = createHash('sha256')
  for (const path of await sources()) {
    const content = await readFile(join(CHECKOUT, path))
    hash.update(`${path}\0${content.length}\0`).update(content)
  }
  return `sha256:${hash.digest('hex').slice(0, 12)}`
}

async function sources(): Promise<string[]> {
  const paths = [CAPABILITIES]
  for (const source of SOURCES) {
    for (const entry of await readdir(join(CHECKOUT, source), { recursive: true, withFileTypes: true })) {
      if (!entry.isFile() || !isPacked(entry.name)) continue
      paths.push(join(entry.parentPath, entry.name).slice(CHECKOUT.length).replaceAll('\\', '/'))
    }
  }
  return paths.sort()
}

function isPacked(name: string): boolean {
  if (name.endsWith('_test.rego')) return false
  return name.endsWith('.rego') || ['.manifest', 'data.json', 'data.yaml', 'data.yml'].includes(name)
}

/** Undefined where the committed bundle is what the sources make, else what is wrong with it. */
export async function checkBundle(): Promise<string | undefined> {
  const folder = await mkdtemp(join(tmpdir(), 'bundle-'))
  try {
    const built = join(folder, 'bundle.tar.gz')
    await buildBundle(built)
    const committed = await readFile(join(CHECKOUT, BUNDLE)).catch(() => undefined)
    if (!committed) return `${BUNDLE} is missing: run \`npm run bundle\` and commit it`
    if (committed.equals(await readFile(built))) return undefined
    return `${BUNDLE} is not what the sources make: run \`npm run bundle\` and commit it`
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function main(): Promise<void> {
  if (process.argv.includes('--check')) {
    const problem = await checkBundle()
    if (problem) throw new Error(problem)
    process.stdout.write(`${BUNDLE} is what the sources make\n`)
    return
  }
  const part = join(CHECKOUT, `${BUNDLE}.part`)
  await buildBundle(part)
  await rename(part, join(CHECKOUT, BUNDLE))
  process.stdout.write(`${BUNDLE} ${await revision()}\n`)
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
