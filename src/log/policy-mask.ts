import { isObject, type Json, type JsonObject } from '../mcp/strict-json.ts'

/**
 * What `data.system.log.mask` asks for, done to one event as OPA does it (OPA v1/plugins/logs/mask.go): items are
 * pointers to remove, or `{op: "remove" | "upsert", path, value}`, below `/input`, `/result` or `/nd_builtin_cache`. What
 * a path does not find is passed over. Removed paths are listed in `erased`, set ones in `masked`.
 *
 * One difference: OPA loses the event when an item is invalid; here the caller is told, and strips the input.
 */
export type MaskRule = { op: 'remove' | 'upsert'; parts: string[]; value: Json }

const ROOTS = new Set(['input', 'result', 'nd_builtin_cache'])

/**
 * The rules out of an evaluation's result set, in the order in which OPA applies the elements of a set; undefined if
 * one of them is invalid. No answer means no rules, as in OPA.
 */
export function readMask(answers: unknown): MaskRule[] | undefined {
  if (!Array.isArray(answers)) return undefined
  if (answers.length === 0) return []
  const items: unknown = answers[0]?.result
  if (!Array.isArray(items)) return undefined
  const rules: MaskRule[] = []
  for (const item of [...(items as Json[])].sort(inOrder)) {
    const rule = readRule(item)
    if (!rule) return undefined
    rules.push(rule)
  }
  return rules
}

function readRule(item: Json): MaskRule | undefined {
  const { op, path, value } =
    typeof item === 'string' ? { op: 'remove', path: item } : isObject(item) ? item : ({} as JsonObject)
  if ((op !== 'remove' && op !== 'upsert') || typeof path !== 'string' || !path.startsWith('/'))
    return undefined
  const plain = path.slice(1).split('/')
  if (!ROOTS.has(plain[0] ?? '') || !plain.every(unescapes)) return undefined
  return { op, parts: plain.map(escapePart), value: value ?? null }
}

/** The event with every rule applied; the one given is left as it is. */
export function applyMask(event: JsonObject, rules: MaskRule[]): JsonObject {
  if (rules.length === 0) return event
  const out = structuredClone(event)
  const erased: string[] = []
  const masked: string[] = []
  for (const { op, parts, value } of rules) {
    const root = parts[0] as string
    if (!(root in out)) continue
    const path = `/${parts.join('/')}`
    if (op === 'remove') {
      if (parts.length === 1) delete out[root]
      else if (!remove(out, parts)) continue
      erased.push(path)
    } else if (upsert(out, parts, structuredClone(value))) masked.push(path)
  }
  // `custom` comes last in every line.
  const { custom, erased: _, masked: scrubbed, ...rest } = out
  const all = [...((scrubbed as string[] | undefined) ?? []), ...masked]
  return {
    ...rest,
    ...(erased.length > 0 && { erased }),
    ...(all.length > 0 && { masked: all }),
    custom: custom as Json,
  }
}

/** `data.system.log.drop` drops an event only where it is `true` and nothing else. */
export const readDrop = (answers: unknown): boolean => Array.isArray(answers) && answers[0]?.result === true

const ownIndex = (list: Json[], part: string): number | undefined => {
  const index = /^[+-]?\d+$/.test(part) ? Number(part) : -1
  return index >= 0 && index < list.length ? index : undefined
}

function childOf(node: Json | undefined, part: string): Json | undefined {
  if (Array.isArray(node)) {
    const index = ownIndex(node, part)
    return index === undefined ? undefined : node[index]
  }
  return isObject(node) && Object.hasOwn(node, part) ? node[part] : undefined
}

function remove(event: JsonObject, parts: string[]): boolean {
  let node: Json | undefined = event
  for (const part of parts.slice(0, -1)) node = childOf(node, part)
  const last = parts.at(-1) as string
  if (Array.isArray(node)) {
    const index = ownIndex(node, last)
    if (index === undefined) return false
    node.splice(index, 1)
    return true
  }
  if (!isObject(node) || !Object.hasOwn(node, last)) return false
  delete node[last]
  return true
}

/** Missing objects on the way are made; a list is never made longer. */
function upsert(event: JsonObject, parts: string[], value: Json): boolean {
  let node: Json | undefined = event
  for (const part of parts.slice(0, -1)) {
    // A key that would change the prototype of the copy is none that an event can have.
    if (isObject(node) && part !== '__proto__' && !Object.hasOwn(node, part)) node[part] = {}
    node = childOf(node, part)
  }
  const last = parts.at(-1) as string
  if (Array.isArray(node)) {
    const index = ownIndex(node, last)
    if (index === undefined) return false
    node[index] = value
    return true
  }
  if (!isObject(node) || last === '__proto__') return false
  node[last] = value
  return true
}

/** What Go's `url.PathUnescape` takes. */
const unescapes = (part: string): boolean => !/%(?![0-9a-f]{2})/i.test(part) && part.isWellFormed()

/** Go's `url.PathEscape`, which OPA puts each part through before it looks for the key. */
const escapePart = (part: string): string =>
  encodeURIComponent(part)
    .replaceAll(/[!*'()]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll(/%(24|26|2B|3A|3D|40)/g, (escaped) => decodeURIComponent(escaped))

/** Strings before objects, strings by code point, objects by their sorted keys and values (OPA ast.Compare). */
function inOrder(a: Json, b: Json): number {
  const rank = (value: Json): number => {
    if (value === null) return 0
    if (typeof value === 'boolean') return 1
    if (typeof value === 'number') return 2
    if (typeof value === 'string') return 3
    return Array.isArray(value) ? 4 : 5
  }
  if (rank(a) !== rank(b)) return rank(a) - rank(b)
  if (typeof a === 'string') return byCodePoint(a, b as string)
  if (typeof a === 'number' || typeof a === 'boolean') return Number(a) - Number(b)
  if (a === null) return 0
  const [left, right] = [parted(a), parted(b as JsonObject)]
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    const order = inOrder(left[i] as Json, right[i] as Json)
    if (order !== 0) return order
  }
  return left.length - right.length
}

/** A list as it is; an object as its keys in order, each followed by its value. */
const parted = (value: JsonObject | Json[]): Json[] =>
  Array.isArray(value)
    ? value
    : Object.keys(value)
        .sort(byCodePoint)
        .flatMap((key) => [key, value[key] as Json])

const byCodePoint = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b))
