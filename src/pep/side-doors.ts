import type { Method } from '../mcp/methods.ts'
import { isObject, type Json, type JsonObject } from '../mcp/strict-json.ts'
import { canonicalUri } from '../pdp/uri.ts'
import type { Item, Visible } from '../pdp/visible.ts'
import { listOf, narrowed } from '../pdp/visible.ts'

/** What a result names, and the result without what may not be seen of it. */
export type Named = { items: Item[]; keep: (visible: Visible) => JsonObject }
/** What one part of a result names: an item, nothing, or something that readers would not agree on. */
type Naming = Item | 'nothing' | 'unreadable'

/**
 * Everything in a result by which a caller learns of a thing, to be narrowed in one question: lists, capabilities,
 * completions, and what tools, prompts and resources link to or embed. Undefined: the result has not the form that its
 * method gives it, so nobody can say what it names.
 * @param about the item of a thing of a list
 */
export function namedBy(
  method: string,
  list: Method['list'],
  params: JsonObject,
  result: JsonObject,
  about: (thing: JsonObject) => Item,
): Named | undefined {
  if (list) {
    const things = listOf(result, list)
    return things && within(things, about, (kept) => ({ ...result, [list.member]: kept }))
  }
  switch (method) {
    case 'initialize':
    case 'server/discover':
      return namedByCapabilities(result)
    case 'completion/complete':
      return namedByCompletion(result)
    case 'tools/call': {
      const { content = [] } = result
      return isObjects(content) ? within(content, ofBlock, (kept) => putContent(result, kept)) : undefined
    }
    case 'prompts/get': {
      const { messages } = result
      if (!isObjects(messages) || !messages.every(({ content }) => isObject(content))) return undefined
      const naming = ({ content }: JsonObject) => ofBlock(content as JsonObject)
      return within(messages, naming, (kept) => ({ ...result, messages: kept }))
    }
    case 'resources/read': {
      const { contents } = result
      if (!isObjects(contents)) return undefined
      // A server may answer with more than what was asked for: what is below it, or elsewhere.
      const naming = ({ uri }: JsonObject) => (uri === params.uri ? 'nothing' : ofAddress('embedded', uri))
      return within(contents, naming, (kept) => ({ ...result, contents: kept }))
    }
    default:
      return { items: [], keep: () => result }
  }
}

/** The parts of one array that may be seen. */
function within(
  parts: JsonObject[],
  naming: (part: JsonObject) => Naming,
  put: (kept: Json[]) => JsonObject,
): Named {
  const items: Item[] = []
  const places = parts.map((part) => {
    const named = naming(part)
    return typeof named === 'object' ? items.push(named) - 1 : named
  })
  const keep = (visible: Visible) =>
    put(
      parts.flatMap((part, i) => {
        const place = places[i]
        if (place === 'nothing') return [part]
        return typeof place === 'number' ? narrowed(part, visible.get(place)) : []
      }),
    )
  return { items, keep }
}

/** A block of content (2025-11-25, "Content"). */
function ofBlock({ type, uri, resource }: JsonObject): Naming {
  if (type === 'resource_link') return ofAddress('link', uri)
  if (type !== 'resource') return 'nothing'
  return isObject(resource) ? ofAddress('embedded', resource.uri) : 'unreadable'
}

function ofAddress(kind: 'link' | 'embedded', uri: Json | undefined): Naming {
  const key = typeof uri === 'string' ? canonicalUri(uri) : undefined
  return key === undefined ? 'unreadable' : { kind, key }
}

const putContent = (result: JsonObject, content: Json[]): JsonObject =>
  result.content === undefined ? result : { ...result, content }

/** Entries of these are items by themselves: `extensions/io.modelcontextprotocol/tasks`. */
const OPEN_CAPABILITIES = ['experimental', 'extensions']

function namedByCapabilities(result: JsonObject): Named | undefined {
  const { capabilities } = result
  if (!isObject(capabilities)) return undefined
  const entries = Object.entries(capabilities).flatMap(
    ([name, value]): [string, string | undefined, Json][] =>
      OPEN_CAPABILITIES.includes(name) && isObject(value)
        ? Object.entries(value).map(([inner, one]) => [name, inner, one])
        : [[name, undefined, value]],
  )
  const items = entries.map(
    ([name, inner]): Item => ({ kind: 'capability', key: inner === undefined ? name : `${name}/${inner}` }),
  )
  const keep = (visible: Visible) => {
    const kept: JsonObject = {}
    entries.forEach(([name, inner, value], i) => {
      if (!visible.has(i)) return
      kept[name] = inner === undefined ? value : { ...(kept[name] as JsonObject | undefined), [inner]: value }
    })
    return { ...result, capabilities: kept }
  }
  return { items, keep }
}

function namedByCompletion(result: JsonObject): Named | undefined {
  const { completion } = result
  if (!isObject(completion) || !Array.isArray(completion.values)) return undefined
  const { values, total, ...rest } = completion
  if (!values.every((value) => typeof value === 'string')) return undefined
  const items = values.map((value): Item => ({ kind: 'completion', key: value as string }))
  const keep = (visible: Visible) => {
    const kept = values.filter((_, i) => visible.has(i))
    // How many there are is told only to those who may see them all.
    const whole = kept.length === values.length && total !== undefined
    return { ...result, completion: { values: kept, ...(whole && { total }), ...rest } }
  }
  return { items, keep }
}

const isObjects = (value: Json | undefined): value is JsonObject[] =>
  Array.isArray(value) && value.every(isObject)
