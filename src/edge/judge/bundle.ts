import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { setFlagsFromString } from 'node:v8'
import { isObject, type JsonObject } from '../../mcp/strict-json.ts'
import { type ArchiveLimits, type Content, unpack } from '../bundles/archive.ts'
import { checkCanaries } from '../bundles/canaries.ts'
import { readDocument } from '../bundles/document.ts'
import { BundleError } from '../bundles/failure.ts'
import { checkSignature, type Signing } from '../bundles/signature.ts'
import { HOST_BUILTINS } from './builtins/registry.ts'
import { builtinsOf, createEvaluator, type Evaluator } from './evaluator.ts'
import { MASK, VISIBLE } from './judge.ts'
import { compilePolicy } from './module/compile.ts'

export { BundleError }

/** OPA bundles (OPA docs, "Bundles"): one with `policy.wasm`, any number with data only. */
export type Policy = {
  module: WebAssembly.Module
  /** the merged data document, as JSON */
  data: string
  revisions: Record<string, { revision?: string }>
  digests: { policy: string; data: string }
  /** whether it has OPA's `system/log/mask` */
  masks: boolean
  /** servers for which data asks that schemas are narrowed: their questions have the schemas */
  narrows: string[]
  /** by bundle that has one: the number that may not become smaller */
  sequences: Record<string, number>
}

/** A bundle as it was fetched, and what holds for it. */
export type Source = { name: string; content: Content; limits?: ArchiveLimits; signing?: Signing }

type Bundle = {
  name: string
  sequence: number | undefined
  wasm: Uint8Array | undefined
  data: JsonObject
  manifest: JsonObject
  roots: string[]
  /** the key of its signature, where there are keys to verify with */
  signedBy: string | undefined
}

const CONTRACT = 1
/** Canaries that are named when they do not hold; the rest is counted. */
const FAULTS_SAID = 5

// Compiled whole at activation: a first call through each function must not pay for its compilation under a deadline.
setFlagsFromString('--no-wasm-lazy-compilation')
// Optimized after hundreds of decisions, not ten thousand: bytes of code that a function runs before it is, a 130th of
// V8's own figure. It costs a background thread about 0.4 s once, instead of 0.3 s later.
setFlagsFromString('--wasm-tiering-budget=100000')

/**
 * Reads bundles and makes one policy of them, or says what is wrong with them. Nothing is written anywhere.
 * @param files by bundle name: a path or a `file:` URL
 * @param path the entrypoint of decisions
 * @throws BundleError
 */
export async function loadPolicyFiles(files: Record<string, string>, path: string): Promise<Policy> {
  const sources: Source[] = []
  for (const [name, file] of Object.entries(files)) {
    try {
      const bytes = await readFile(file.startsWith('file:') ? fileURLToPath(file) : file)
      sources.push({ name, content: { bytes } })
    } catch (error) {
      throw new BundleError('unreachable', `bundle ${name}: ${(error as Error).message}`)
    }
  }
  return readPolicy(sources, path)
}

/**
 * One policy out of bundles in memory, with everything checked that can be before it judges: form, roots, entrypoints,
 * contract, builtins, memory, and its own canaries.
 * @param path the entrypoint of decisions
 * @throws BundleError
 */
export async function readPolicy(sources: Source[], path: string): Promise<Policy> {
  const bundles: Bundle[] = []
  for (const source of sources) {
    try {
      bundles.push(await readBundle(source))
    } catch (error) {
      if (error instanceof BundleError) error.bundle ??= source.name
      throw error
    }
  }
  return activate(bundles, path)
}

/** What a bundle alone says of itself. */
export type Told = {
  revision: string | undefined
  roots: string[]
  sequence: number | undefined
  signedBy: string | undefined
  wasm: boolean
}

/** One bundle, without the others that it may need: form, signature, roots. @throws BundleError */
export async function readOne(source: Source): Promise<Told> {
  const { manifest, roots, sequence, signedBy, wasm } = await readBundle(source)
  return { revision: revisionOf(manifest), roots, sequence, signedBy, wasm: wasm !== undefined }
}

const revisionOf = ({ revision }: JsonObject): string | undefined =>
  typeof revision === 'string' && revision !== '' ? revision : undefined

async function readBundle({ name, content, limits, signing }: Source): Promise<Bundle> {
  const files = await unpack(name, content, limits)
  const signedBy = signing && checkSignature(name, files, signing)
  const manifest = readDocument(name, '.manifest', files.get('.manifest')) ?? {}
  const roots = manifest.roots ?? ['']
  if (!Array.isArray(roots) || !roots.every((root) => typeof root === 'string')) {
    throw new BundleError('malformed', `bundle ${name}: roots in .manifest is not a list of strings`)
  }
  const data: JsonObject = {}
  for (const [file, bytes] of files) {
    if (!/(^|\/)data\.(json|ya?ml)$/.test(file)) continue
    place(data, file.split('/').slice(0, -1), readDocument(name, file, bytes) ?? {}, name)
  }
  const owned = roots.map((root) => root.replace(/^\/|\/$/g, ''))
  const stray = outside(data, '', owned)
  if (stray)
    throw new BundleError('roots', `bundle ${name}: data at /${stray} is outside the roots of its .manifest`)
  return {
    name,
    wasm: files.get('policy.wasm'),
    data,
    manifest,
    roots: owned,
    sequence: sequenceOf(name, data, manifest),
    signedBy,
  }
}

/** `config.sequence` in its data, or, where a bundle has no data there, `metadata.sequence` in its manifest. */
function sequenceOf(name: string, data: JsonObject, manifest: JsonObject): number | undefined {
  const inData = isObject(data.config) ? data.config.sequence : undefined
  const inManifest = isObject(manifest.metadata) ? manifest.metadata.sequence : undefined
  const sequence = inData ?? inManifest
  if (sequence === undefined || (Number.isSafeInteger(sequence) && Number(sequence) >= 0))
    return sequence as number | undefined
  throw new BundleError('malformed', `bundle ${name}: its sequence is no whole number from 0`)
}

function place(into: JsonObject, path: string[], value: JsonObject, name: string): void {
  let at = into
  for (const part of path) {
    at[part] ??= {}
    if (!isObject(at[part]))
      throw new BundleError('data', `bundle ${name}: two data files give /${path.join('/')}`)
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
    else throw new BundleError('data', `bundle ${name}: data at /${at}/${key} is given twice`)
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
    throw new BundleError(
      'wasm',
      'exactly one bundle must carry policy.wasm: build it with "opa build -t wasm"',
    )
  }
  for (const [i, a] of bundles.entries()) {
    for (const b of bundles.slice(i + 1)) {
      const clash = a.roots.find((x) => b.roots.some((y) => covers(x, y) || covers(y, x)))
      if (clash !== undefined)
        throw new BundleError('roots', `bundles ${a.name} and ${b.name} both own the root "${clash}"`)
    }
  }
  checkEntrypoints(first, [path, VISIBLE])
  const data: JsonObject = {}
  for (const bundle of bundles) merge(data, bundle.data, '', bundle.name)
  let module: WebAssembly.Module
  let evaluator: Evaluator
  try {
    module = compilePolicy(first.wasm)
    const missing = builtinsOf(module).filter((builtin) => !HOST_BUILTINS.has(builtin))
    if (missing.length > 0) {
      throw new BundleError(
        'builtins',
        `bundle ${first.name} uses builtins that this host does not have: ${missing.join(', ')}; build it with bundles/capabilities.json`,
      )
    }
    evaluator = createEvaluator(module, data)
  } catch (error) {
    if (error instanceof BundleError) throw error
    const code = /opa_malloc|memory/i.test(String(error)) ? 'memory' : 'wasm'
    throw new BundleError(code, `bundle ${first.name}: policy.wasm does not load (${String(error)})`)
  }
  const faults = checkCanaries((input) => ask(evaluator, path, input), data, new Date())
  if (faults.length > 0) {
    const more = faults.length > FAULTS_SAID ? ` and ${faults.length - FAULTS_SAID} more` : ''
    throw new BundleError('canaries', `${faults.slice(0, FAULTS_SAID).join('; ')}${more}`)
  }
  const revisions: Policy['revisions'] = {}
  for (const { name, manifest } of bundles) {
    const revision = revisionOf(manifest)
    revisions[name] = revision === undefined ? {} : { revision }
  }
  const sequences = Object.fromEntries(
    bundles.flatMap(({ name, sequence }) => (sequence === undefined ? [] : [[name, sequence]])),
  )
  const text = JSON.stringify(data)
  const digests = { policy: sha256(first.wasm), data: sha256(text) }
  const masks = evaluator.entrypoints.includes(MASK)
  return { module, data: text, revisions, masks, narrows: narrowsOf(data), digests, sequences }
}

function narrowsOf({ config }: JsonObject): string[] {
  const servers = isObject(config) && isObject(config.servers) ? Object.entries(config.servers) : []
  return servers.flatMap(([name, server]) => (isObject(server) && server.narrow === true ? [name] : []))
}

/** An abort of one canary must not be the answer of the next. */
function ask(evaluator: Evaluator, path: string, input: JsonObject): unknown {
  if (evaluator.spoiled()) evaluator.restore()
  return evaluator.evaluate(path, input)
}

/** The manifest names the entrypoints and, in the metadata of the decision's, the contract that it speaks. */
function checkEntrypoints(bundle: Bundle, wanted: string[]): void {
  const wasm = Array.isArray(bundle.manifest.wasm) ? bundle.manifest.wasm.filter(isObject) : []
  for (const entrypoint of wanted) {
    const entry = wasm.find((candidate) => candidate.entrypoint === entrypoint)
    if (!entry) throw new BundleError('entrypoints', `bundle ${bundle.name} has no entrypoint ${entrypoint}`)
    if (entrypoint === VISIBLE) continue
    const annotations = Array.isArray(entry.annotations) ? entry.annotations.filter(isObject) : []
    const contract = annotations
      .map((a) => (isObject(a.custom) ? a.custom.contract : undefined))
      .find((c) => c !== undefined)
    if (contract !== CONTRACT) {
      throw new BundleError(
        'contract',
        `bundle ${bundle.name}: ${entrypoint} speaks contract ${JSON.stringify(contract ?? null)}, this sidecar speaks ${CONTRACT} (custom.contract in its metadata)`,
      )
    }
  }
}

const sha256 = (of: string | Uint8Array): string => `sha256:${createHash('sha256').update(of).digest('hex')}`
