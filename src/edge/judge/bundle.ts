import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { setFlagsFromString } from 'node:v8'
import { gunzipSync } from 'node:zlib'
import { extract } from 'tar-stream'
import { isObject, type JsonObject, parseStrict } from '../../mcp/strict-json.ts'
import { builtinsOf, createEvaluator } from './evaluator.ts'
import { MASK, VISIBLE } from './judge.ts'

/** OPA bundles (OPA docs, "Bundles"): one with `policy.wasm`, any number with data only. */
export type Policy = {
  module: WebAssembly.Module
  /** the merged data document, as JSON */
  data: string
  revisions: Record<string, { revision?: string }>
  digests: { policy: string; data: string }
  /** whether it has OPA's `system/log/mask` */
  masks: boolean
}

/** Says which bundle and what to do about it. */
export class BundleError extends Error {
  override name = 'BundleError'
}

type Bundle = {
  name: string
  wasm: Buffer | undefined
  data: JsonObject
  manifest: JsonObject
  roots: string[]
}

/** Uncompressed bytes of all files of one bundle, and their number. */
const LIMITS = { bytes: 256 << 20, files: 10_000 }
const JSON_LIMITS = { bytes: LIMITS.bytes, depth: 128, keys: 20_000_000, string: 64 << 20 }
/** Builtins of the host library that are JavaScript and answer as OPA does on what the policies give them. */
const HOST_BUILTINS = new Set(['sprintf', 'json.is_valid', 'yaml.is_valid', 'yaml.marshal', 'yaml.unmarshal'])
const CONTRACT = 1

// Compiled whole at activation: a first call through each function must not pay for its compilation under a deadline.
setFlagsFromString('--no-wasm-lazy-compilation')

/**
 * Reads bundles and makes one policy of them, or says what is wrong with them. Nothing is written anywhere.
 * @param files by bundle name: a path or a `file:` URL
 * @param path the entrypoint of decisions
 * @throws BundleError
 */
export async function loadPolicyFiles(files: Record<string, string>, path: string): Promise<Policy> {
  const bundles: Bundle[] = []
  for (const [name, file] of Object.entries(files)) {
    let archive: Buffer
    try {
      archive = await readFile(file.startsWith('file:') ? fileURLToPath(file) : file)
    } catch (error) {
      throw new BundleError(`bundle ${name}: ${(error as Error).message}`)
    }
    bundles.push(await readBundle(name, archive))
  }
  return activate(bundles, path)
}

async function readBundle(name: string, archive: Buffer): Promise<Bundle> {
  const files = await unpack(name, archive)
  const json = (file: string): JsonObject | undefined => {
    const bytes = files.get(file)
    if (!bytes) return undefined
    const parsed = parseStrict(bytes.toString('utf8'), JSON_LIMITS)
    if (!parsed.ok || !isObject(parsed.value))
      throw new BundleError(`bundle ${name}: ${file} is not a JSON object`)
    return parsed.value
  }
  const manifest = json('.manifest') ?? {}
  const roots = manifest.roots ?? ['']
  if (!Array.isArray(roots) || !roots.every((root) => typeof root === 'string')) {
    throw new BundleError(`bundle ${name}: roots in .manifest is not a list of strings`)
  }
  const data: JsonObject = {}
  for (const file of files.keys()) {
    if (!/(^|\/)data\.json$/.test(file)) continue
    place(data, file.split('/').slice(0, -1), json(file) ?? {}, name)
  }
  const owned = roots.map((root) => root.replace(/^\/|\/$/g, ''))
  const stray = outside(data, '', owned)
  if (stray) throw new BundleError(`bundle ${name}: data at /${stray} is outside the roots of its .manifest`)
  return { name, wasm: files.get('policy.wasm'), data, manifest, roots: owned }
}

/** Files of a gzipped tar, in memory. Anything but plain files and folders with plain names is refused. */
async function unpack(name: string, archive: Buffer): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>()
  const no = (text: string) => new BundleError(`bundle ${name}: ${text}`)
  try {
    const tar = extract()
    tar.end(gunzipSync(archive, { maxOutputLength: LIMITS.bytes }))
    for await (const entry of tar) {
      const { type } = entry.header
      const path = entry.header.name.replace(/^\.?\//, '')
      const parts: Buffer[] = []
      for await (const chunk of entry) parts.push(chunk as Buffer)
      if (type === 'directory') continue
      if (type !== 'file') throw no(`${JSON.stringify(path)} is a ${type}, not a file`)
      const plain = !path.split('/').some((part) => ['', '.', '..', '__proto__'].includes(part))
      if (!plain || files.has(path)) throw no(`the name ${JSON.stringify(path)} is refused`)
      if (files.size >= LIMITS.files) throw no(`more than ${LIMITS.files} files`)
      files.set(path, Buffer.concat(parts))
    }
  } catch (error) {
    if (error instanceof BundleError) throw error
    throw no(`not a gzipped tar of at most ${LIMITS.bytes} bytes (${(error as Error).message})`)
  }
  return files
}

function place(into: JsonObject, path: string[], value: JsonObject, name: string): void {
  let at = into
  for (const part of path) {
    at[part] ??= {}
    if (!isObject(at[part])) throw new BundleError(`bundle ${name}: two data files give /${path.join('/')}`)
    at = at[part]
  }
  merge(at, value, path.join('/'), name)
}

/** Two documents of the same bundle or of two: they may share folders, never a value. */
function merge(into: JsonObject, value: JsonObject, at: string, name: string): void {
  for (const [key, inner] of Object.entries(value)) {
    const there = Object.hasOwn(into, key) ? into[key] : undefined
    if (there === undefined) into[key] = inner
    else if (isObject(there) && isObject(inner)) merge(there, inner, `${at}/${key}`, name)
    else throw new BundleError(`bundle ${name}: data at /${at}/${key} is given twice`)
  }
}

/** The first path with data that no root covers. */
function outside(data: JsonObject, at: string, roots: string[]): string | undefined {
  for (const [key, value] of Object.entries(data)) {
    const path = at === '' ? key : `${at}/${key}`
    if (roots.some((root) => covers(root, path))) continue
    const leadsOn = roots.some((root) => root.startsWith(`${path}/`))
    if (!leadsOn || !isObject(value)) return path
    const stray = outside(value, path, roots)
    if (stray) return stray
  }
  return undefined
}

const covers = (root: string, path: string): boolean =>
  root === '' || path === root || path.startsWith(`${root}/`)

function activate(bundles: Bundle[], path: string): Policy {
  const [first, ...others] = bundles.filter((bundle) => bundle.wasm)
  if (!first?.wasm || others.length > 0) {
    throw new BundleError('exactly one bundle must carry policy.wasm: build it with "opa build -t wasm"')
  }
  for (const [i, a] of bundles.entries()) {
    for (const b of bundles.slice(i + 1)) {
      const clash = a.roots.find((x) => b.roots.some((y) => covers(x, y) || covers(y, x)))
      if (clash !== undefined)
        throw new BundleError(`bundles ${a.name} and ${b.name} both own the root "${clash}"`)
    }
  }
  checkEntrypoints(first, [path, VISIBLE])
  const data: JsonObject = {}
  for (const bundle of bundles) merge(data, bundle.data, '', bundle.name)
  let module: WebAssembly.Module
  let masks: boolean
  try {
    module = new WebAssembly.Module(new Uint8Array(first.wasm))
    const missing = builtinsOf(module).filter((builtin) => !HOST_BUILTINS.has(builtin))
    if (missing.length > 0) {
      throw new BundleError(
        `bundle ${first.name} uses builtins that this host does not have: ${missing.join(', ')}; build it with bundles/capabilities.json`,
      )
    }
    masks = createEvaluator(module, data).entrypoints.includes(MASK)
  } catch (error) {
    if (error instanceof BundleError) throw error
    throw new BundleError(`bundle ${first.name}: policy.wasm does not load (${String(error)})`)
  }
  const revisions: Policy['revisions'] = {}
  for (const { name, manifest } of bundles) {
    revisions[name] =
      typeof manifest.revision === 'string' && manifest.revision !== '' ? { revision: manifest.revision } : {}
  }
  const text = JSON.stringify(data)
  const digests = { policy: sha256(first.wasm), data: sha256(text) }
  return { module, data: text, revisions, masks, digests }
}

/** The manifest names the entrypoints and, in the metadata of the decision's, the contract that it speaks. */
function checkEntrypoints(bundle: Bundle, wanted: string[]): void {
  const wasm = Array.isArray(bundle.manifest.wasm) ? bundle.manifest.wasm.filter(isObject) : []
  for (const entrypoint of wanted) {
    const entry = wasm.find((candidate) => candidate.entrypoint === entrypoint)
    if (!entry) throw new BundleError(`bundle ${bundle.name} has no entrypoint ${entrypoint}`)
    if (entrypoint === VISIBLE) continue
    const annotations = Array.isArray(entry.annotations) ? entry.annotations.filter(isObject) : []
    const contract = annotations
      .map((a) => (isObject(a.custom) ? a.custom.contract : undefined))
      .find((c) => c !== undefined)
    if (contract !== CONTRACT) {
      throw new BundleError(
        `bundle ${bundle.name}: ${entrypoint} speaks contract ${JSON.stringify(contract ?? null)}, this sidecar speaks ${CONTRACT} (custom.contract in its metadata)`,
      )
    }
  }
}

const sha256 = (of: string | Buffer): string => `sha256:${createHash('sha256').update(of).digest('hex')}`
