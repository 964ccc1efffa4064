import { createHash } from 'node:crypto'
import { type ParamHeader, paramHeadersOf } from '../mcp/param-headers.ts'
import { foldKey, isObject, type Json, type JsonObject } from '../mcp/strict-json.ts'

/** What is known of a tool whose definition was seen. */
export type ToolFacts = {
  /** `sha256:` of the RFC 8785 form of what a client is shown */
  digest: string
  annotations?: JsonObject
  /** arguments that its requests mirror into headers */
  params: ParamHeader[]
  /**
   * JSON pointers of arguments that the schema does not declare, the first hundred; `ambiguous` if one only differs
   * from a declared key by case, or if there is too much to compare
   */
  undeclared: (args: JsonObject) => string[] | 'ambiguous'
}

const SHOWN = ['name', 'title', 'description', 'inputSchema', 'outputSchema', 'annotations']

/** The members of a definition that its digest is made of. */
export function shownOf(definition: JsonObject): JsonObject {
  const shown: JsonObject = {}
  for (const key of SHOWN) if (definition[key] !== undefined) shown[key] = definition[key]
  return shown
}

export function toolFacts(definition: JsonObject): ToolFacts {
  const schema = isObject(definition.inputSchema) ? definition.inputSchema : {}
  const facts: ToolFacts = {
    digest: `sha256:${createHash('sha256')
      .update(canonical(shownOf(definition)))
      .digest('hex')}`,
    params: paramHeadersOf(schema),
    undeclared: (args) => {
      const at: Comparison = { root: schema, found: [], left: MAX_STEPS }
      return compare(args, resolve([schema], schema), at, '', 0) ? at.found : 'ambiguous'
    },
  }
  if (isObject(definition.annotations)) facts.annotations = definition.annotations
  return facts
}

/** RFC 8785 (JCS): keys by UTF-16 order, numbers and strings as ECMAScript writes them. */
export function canonical(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (!isObject(value)) return JSON.stringify(value)
  const members = Object.keys(value)
    .sort()
    .map((key) => `${JSON.stringify(key)}:${canonical(value[key] as Json)}`)
  return `{${members.join(',')}}`
}

/** Deeper values, and schemas made of more parts, are taken as undeclared below: a definition is the upstream's. */
const MAX_DEPTH = 16
const MAX_PARTS = 256

/** Values and keys that one comparison looks at, and pointers that it collects: arguments are the caller's. */
const MAX_STEPS = 100_000
const MAX_FOUND = 100
const LONGEST_POINTER = 512

type Comparison = { root: JsonObject; found: string[]; left: number }

/** Collects what `parts` (schemas that all speak of this value) do not declare. False: ambiguous, or too much. */
function compare(value: Json, parts: JsonObject[], at: Comparison, pointer: string, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return true
  if (Array.isArray(value)) {
    at.left -= value.length
    if (at.left < 0) return false
    const items = resolve(new Set(parts.map((schema) => schema.items ?? {})), at.root)
    return value.every((item, i) => compare(item, items, at, `${pointer}/${i}`, depth + 1))
  }
  const keys = Object.keys(value)
  at.left -= keys.length + parts.length
  if (at.left < 0) return false
  const declared = new Map<string, Set<Json>>()
  for (const { properties } of parts) {
    if (!isObject(properties)) continue
    at.left -= Object.keys(properties).length
    for (const [key, property] of Object.entries(properties)) {
      const known = declared.get(key)
      if (known) known.add(property)
      else declared.set(key, new Set([property]))
    }
  }
  const open = parts.some(isOpen)
  let folded: Set<string> | undefined
  const isDeclaredOtherwise = (key: string) => {
    folded ??= new Set([...declared.keys()].map(foldKey))
    return folded.has(foldKey(key))
  }
  for (const key of keys) {
    const inner = value[key] as Json
    const known = declared.get(key)
    const below = `${pointer}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`
    if (known && depth < MAX_DEPTH) {
      const isPlain = typeof inner !== 'object' || inner === null
      if (!isPlain && !compare(inner, resolve(known, at.root), at, below, depth + 1)) return false
    } else if (!known && isDeclaredOtherwise(key)) return false
    else if ((known || !open) && at.found.length < MAX_FOUND)
      at.found.push(below.slice(0, LONGEST_POINTER).toWellFormed())
  }
  return true
}

/** An object schema that says itself that it takes further keys; saying nothing is not saying so. */
const isOpen = (schema: JsonObject): boolean =>
  schema.additionalProperties === true ||
  isObject(schema.additionalProperties) ||
  isObject(schema.patternProperties)

/** Schemas and those they are made of, each once; only `#/…` references, never fetched. */
function resolve(schemas: Iterable<Json>, root: JsonObject): JsonObject[] {
  const parts = new Set<JsonObject>()
  const queue = [...schemas]
  for (let i = 0; i < queue.length && parts.size < MAX_PARTS; i++) {
    const schema = queue[i] as Json
    if (!isObject(schema) || parts.has(schema)) continue
    parts.add(schema)
    for (const key of ['allOf', 'anyOf', 'oneOf']) {
      const inner = schema[key]
      if (Array.isArray(inner)) queue.push(...inner.slice(0, MAX_PARTS))
    }
    if (typeof schema.$ref === 'string') queue.push(follow(schema.$ref, root))
  }
  return [...parts]
}

/** What a JSON pointer within the document names; anything else declares nothing. */
function follow(ref: string, root: JsonObject): Json {
  if (ref === '#') return root
  if (!ref.startsWith('#/')) return {}
  let at: Json | undefined = root
  for (const part of ref.slice(2).split('/')) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~')
    at = isObject(at) && Object.hasOwn(at, key) ? at[key] : undefined
  }
  return at ?? {}
}
