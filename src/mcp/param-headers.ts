import { decodeHeader, encodeHeader } from './headers.ts'
import { isObject, type Json, type JsonObject } from './strict-json.ts'

/** An argument that a tool wants mirrored into `Mcp-Param-<name>` (2026-07-28, "Custom Headers from Tool Parameters"). */
export type ParamHeader = { name: string; path: string[] }

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$/
const MIRRORED_TYPES = ['string', 'integer', 'boolean']
/** A definition is the upstream's, arguments are the caller's: both are looked at up to here. */
const MOST = { depth: 16, properties: 1000, values: 10_000 }

/** The valid annotations of a schema: on a scalar, below `properties` only, each name once whatever its case. */
export function paramHeadersOf(schema: JsonObject): ParamHeader[] {
  const found: ParamHeader[] = []
  let left = MOST.properties
  const walk = (node: JsonObject, path: string[]) => {
    if (!isObject(node.properties) || path.length >= MOST.depth) return
    for (const [key, property] of Object.entries(node.properties)) {
      if (left-- <= 0 || !isObject(property)) continue
      const name = property['x-mcp-header']
      const scalar = MIRRORED_TYPES.includes(String(property.type))
      if (typeof name === 'string' && TOKEN.test(name) && scalar)
        found.push({ name: name.toLowerCase(), path: [...path, key] })
      else walk(property, [...path, key])
    }
  }
  walk(schema, [])
  return found.filter(({ name }) => found.filter((other) => other.name === name).length === 1)
}

/**
 * The `mcp-param-*` headers of the upstream request, made from the arguments; undefined where what came does not agree.
 * @param declared undefined: the definition is not known. What comes then must at least be a value of the arguments, so
 * that no header says what was not judged.
 * @param came by the name after `mcp-param-`, lower case; undefined: the transport has no headers
 */
export function mirrorParams(
  declared: ParamHeader[] | undefined,
  args: JsonObject,
  came: Record<string, string> | undefined,
): Record<string, string> | undefined {
  const out: Record<string, string> = {}
  if (!declared) {
    if (came === undefined || Object.keys(came).length === 0) return out
    const values = scalarsOf(args)
    for (const [name, value] of Object.entries(came)) {
      const decoded = decodeHeader(value)
      if (decoded === undefined || !values?.has(decoded)) return undefined
      out[`mcp-param-${name}`] = encodeHeader(decoded)
    }
    return out
  }
  for (const { name, path } of declared) {
    const value = path.reduce<Json | undefined>(childOf, args)
    const header = came?.[name]
    const decoded = header === undefined ? undefined : decodeHeader(header)
    if (value === undefined || value === null) {
      if (header !== undefined) return undefined
      continue
    }
    // What is no scalar breaks the schema, and has no form as a header: the server says so.
    if (typeof value === 'object') continue
    if (came && (decoded === undefined || !same(value, decoded))) return undefined
    out[`mcp-param-${name}`] = encodeHeader(String(value))
  }
  return out
}

const childOf = (node: Json | undefined, key: string): Json | undefined =>
  isObject(node) && Object.hasOwn(node, key) ? node[key] : undefined

/** Numbers are compared as numbers. */
const same = (value: string | number | boolean, text: string): boolean =>
  typeof value === 'number' ? /^-?\d+(\.0+)?$/.test(text) && Number(text) === value : String(value) === text

/** Every string, number and boolean, as text; undefined where there are too many. */
function scalarsOf(args: JsonObject): Set<string> | undefined {
  const values = new Set<string>()
  const queue: Json[] = [args]
  for (let i = 0; i < queue.length; i++) {
    if (i > MOST.values) return undefined
    const value = queue[i] as Json
    if (value === null) continue
    if (typeof value === 'object') queue.push(...Object.values(value).slice(0, MOST.values))
    else values.add(String(value))
  }
  return values
}
