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
  /** `ambiguous` if an argument only differs from a declared one by case, or if there is too much to compare */
  undeclared: (args: JsonObject) => Undeclared | 'ambiguous'
}

/**
 * JSON pointers of arguments that the schema does not declare, the first hundred, and whether it rules one of all of
 * them out: objects whose schema says nothing of further keys, or admits them, rule out none.
 */
export type Undeclared = { pointers: string[]; closed: boolean }

const SHOWN = ['name', 'title', 'description', 'inputSchema', 'outputSchema', 'annotations']

/** The members of a definition that its digest is made of. */
export function shownOf(definition: JsonObject): JsonObject {
  const shown: JsonObject = {}
  for (const key of SHOWN) if (definition[key] !== undefined) shown[key] = definition[key]
  return shown
}

export function toolFacts(definition: JsonObject): ToolFacts {
  const schema = isObject(definition.inputSchema) ? definition.inputSchema : CLOSED
  const facts: ToolFacts = {
    digest: `sha256:${createHash('sha256')
      .update(canonical(shownOf(definition)))
      .digest('hex')}`,
    params: paramHeadersOf(schema),
    undeclared: (args) => {
      const at: Comparison = { root: schema, pointers: [], closed: false, left: MAX_STEPS }
      if (!compare(args, resolve([schema], schema), at, '', 0)) return 'ambiguous'
      return { pointers: at.pointers, closed: at.closed }
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

/** Deeper values, and schemas made of more parts, are taken as closed: a definition is the upstream's. */
const MAX_DEPTH = 16
const MAX_PARTS = 256

/** Values and keys that one comparison looks at, and pointers that it collects: arguments are the caller's. */
const MAX_STEPS = 100_000
const MAX_FOUND = 100
const LONGEST_POINTER = 512

/** Stands for a schema that cannot be read: not knowing it is not knowing that it is open. */
const CLOSED: JsonObject = { additionalProperties: false }

type Comparison = { root: JsonObject; pointers: string[]; closed: boolean; left: number }

/** Collects what `parts` (schemas that all speak of this value) do not declare. False: ambiguous, or too much. */
function compare(value: Json, parts: JsonObject[], at: Comparison, pointer: string, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return true
  if (Array.isArray(value)) {
    at.left -= value.length
    if (at.left < 0) return false
    const inner = admits(parts, 'array') ? parts.map(({ items }) => items ?? {}) : [CLOSED]
    const items = resolve(new Set(inner), at.root)
    return value.every((item, i) => compare(item, items, at, `${pointer}/${i}`, depth + 1))
  }
  const keys = Object.keys(value)
  at.left -= keys.length + parts.length
  if (at.left < 0) return false
  const declared = declaredBy(parts, at)
  const closed = parts.some(closes) || !admits(parts, 'object')
  const further = parts.flatMap(({ additionalProperties: more }) => (isObject(more) ? [more] : []))
  let folded: Set<string> | undefined
  const isDeclaredOtherwise = (key: string) => {
    folded ??= new Set([...declared.keys()].map(foldKey))
    return folded.has(foldKey(key))
  }
  for (const key of keys) {
    const inner = value[key] as Json
    const known = declared.get(key)
    const below = `${pointer}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`
    if (!known && isDeclaredOtherwise(key)) return false
    const tooDeep = depth >= MAX_DEPTH
    if (!known || tooDeep) {
      if (closed || tooDeep) at.closed = true
      if (at.pointers.length < MAX_FOUND) at.pointers.push(below.slice(0, LONGEST_POINTER).toWellFormed())
    }
    const schemas = known ?? new Set(further)
    if (tooDeep || schemas.size === 0 || typeof inner !== 'object' || inner === null) continue
    if (!compare(inner, resolve(schemas, at.root), at, below, depth + 1)) return false
  }
  return true
}

/** The keys that an object may have by name, with the schemas of each. */
function declaredBy(parts: JsonObject[], at: Comparison): Map<string, Set<Json>> {
  const declared = new Map<string, Set<Json>>()
  const declare = (key: string, schema: Json) => {
    at.left -= 1
    const known = declared.get(key)
    if (known) known.add(schema)
    else declared.set(key, new Set([schema]))
  }
  for (const { properties, propertyNames, additionalProperties } of parts) {
    if (isObject(properties)) for (const [key, schema] of Object.entries(properties)) declare(key, schema)
    const names = isObject(propertyNames) ? propertyNames.enum : undefined
    if (!Array.isArray(names)) continue
    for (const name of names) if (typeof name === 'string') declare(name, additionalProperties ?? {})
  }
  return declared
}

/**
 * An object schema that takes no key beyond those that it names. Keys that it admits by a pattern beside that are not
 * recognised: an expression of the upstream is not run.
 */
const closes = (schema: JsonObject): boolean =>
  isNever(schema.additionalProperties) ||
  isNever(schema.unevaluatedProperties) ||
  isNever(schema.propertyNames) ||
  (isObject(schema.propertyNames) && Array.isArray(schema.propertyNames.enum)) ||
  schema.maxProperties === 0

/** A schema that nothing satisfies. */
const isNever = (schema: Json | undefined): boolean =>
  schema === false ||
  (isObject(schema) &&
    (schema.not === true || (isObject(schema.not) && Object.keys(schema.not).length === 0)))

/** Whether one of the parts takes values of this type: what is declared as a text has no keys of its own. */
function admits(parts: JsonObject[], type: 'array' | 'object'): boolean {
  const said = parts.filter((part) => part.type !== undefined || !MADE_OF.some((key) => key in part))
  return (
    said.length === 0 || said.some((part) => part.type === undefined || [part.type].flat().includes(type))
  )
}

const COMBINED = ['allOf', 'anyOf', 'oneOf']
const CONDITIONAL = ['if', 'then', 'else']
const REFERENCES = ['$ref', '$dynamicRef', '$recursiveRef']
const MADE_OF = [...COMBINED, ...CONDITIONAL, ...REFERENCES]

/** Schemas and those they are made of, each once; only `#/…` references, never fetched. */
function resolve(schemas: Iterable<Json>, root: JsonObject): JsonObject[] {
  const parts = new Set<JsonObject>()
  const queue = [...schemas]
  for (let i = 0; i < queue.length; i++) {
    const schema = queue[i] as Json
    if (schema === false) parts.add(CLOSED)
    if (!isObject(schema) || parts.has(schema)) continue
    if (parts.size >= MAX_PARTS) {
      parts.add(CLOSED)
      break
    }
    parts.add(schema)
    for (const key of COMBINED) {
      const inner = schema[key]
      if (Array.isArray(inner)) queue.push(...inner.slice(0, MAX_PARTS + 1))
    }
    for (const key of CONDITIONAL) if (schema[key] !== undefined) queue.push(schema[key])
    for (const key of REFERENCES) if (schema[key] !== undefined) queue.push(follow(schema[key], root))
  }
  return [...parts]
}

/** What a JSON pointer within the document names; anything else is not known. */
function follow(ref: Json, root: JsonObject): Json {
  if (ref === '#') return root
  if (typeof ref !== 'string' || !ref.startsWith('#/')) return CLOSED
  let at: Json | undefined = root
  for (const part of ref.slice(2).split('/')) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~')
    at = isObject(at) && Object.hasOwn(at, key) ? at[key] : undefined
  }
  return at ?? CLOSED
}
