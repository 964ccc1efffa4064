import { createHash } from 'node:crypto'
import { foldKey, isObject, type Json, type JsonObject } from '../mcp/strict-json.ts'

/** What is known of a tool whose definition was seen. */
export type ToolFacts = {
  /** `sha256:` of the RFC 8785 form of what a client is shown */
  digest: string
  annotations?: JsonObject
  /** JSON pointers of arguments that the schema does not declare; `ambiguous` if one only differs from a declared key by case */
  undeclared: (args: JsonObject) => string[] | 'ambiguous'
}

const SHOWN = ['name', 'title', 'description', 'inputSchema', 'outputSchema', 'annotations']

export function toolFacts(definition: JsonObject): ToolFacts {
  const shown: JsonObject = {}
  for (const key of SHOWN) if (definition[key] !== undefined) shown[key] = definition[key]
  const schema = isObject(definition.inputSchema) ? definition.inputSchema : {}
  const facts: ToolFacts = {
    digest: `sha256:${createHash('sha256').update(canonical(shown)).digest('hex')}`,
    undeclared: (args) => {
      const found: string[] = []
      return compare(args, [schema], schema, '', found, 0) ? found : 'ambiguous'
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

/** Collects what `schemas` (alternatives that all speak of this value) do not declare. False: a key is ambiguous. */
function compare(
  value: Json,
  schemas: Iterable<Json>,
  root: JsonObject,
  at: string,
  found: string[],
  depth: number,
): boolean {
  const parts = resolve(schemas, root)
  if (Array.isArray(value)) {
    const items = new Set(parts.map((schema) => schema.items).filter((item) => item !== undefined))
    return value.every((item, i) => compare(item, items, root, `${at}/${i}`, found, depth + 1))
  }
  if (!isObject(value)) return true
  const declared = new Map<string, Set<Json>>()
  for (const { properties } of parts) {
    if (!isObject(properties)) continue
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
  for (const key of Object.keys(value)) {
    const pointer = `${at}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`
    const known = declared.get(key)
    if (known && depth < MAX_DEPTH) {
      if (!compare(value[key] as Json, known, root, pointer, found, depth + 1)) return false
    } else if (!known && isDeclaredOtherwise(key)) return false
    else if (known || !open) found.push(pointer)
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
  for (let schema = queue.shift(); schema !== undefined && parts.size < MAX_PARTS; schema = queue.shift()) {
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
