import { describe, expect, test } from 'vitest'
import { methodToServer } from '../../src/mcp/methods.ts'
import type { JsonObject } from '../../src/mcp/strict-json.ts'
import type { Visible } from '../../src/pdp/visible.ts'
import { namedBy } from '../../src/pep/side-doors.ts'

const named = (method: string, result: JsonObject, params: JsonObject = {}) =>
  namedBy(method, methodToServer(method)?.list, params, result, (thing) => ({
    kind: 'tool',
    key: String(thing.name),
  }))
const keys = (method: string, result: JsonObject, params?: JsonObject) =>
  named(method, result, params)?.items.map(({ kind, key }) => `${kind} ${key}`)
/** What is left where only items that hold `seen` may be seen. */
const left = (method: string, result: JsonObject, params?: JsonObject) => {
  const found = named(method, result, params)
  const visible: Visible = new Map()
  for (const [i, { key }] of (found?.items ?? []).entries()) if (key.includes('seen')) visible.set(i, true)
  return found?.keep(visible)
}
const link = (uri: string) => ({ type: 'resource_link', uri, name: 'x' })
const embedded = (uri: string) => ({ type: 'resource', resource: { uri, text: 'secret' } })
const text = { type: 'text', text: 'hello' }

describe('results of tools', () => {
  const result = {
    content: [text, link('test://seen/1'), embedded('test://hidden'), embedded('test://seen/2')],
    structuredContent: { a: 1 },
    _meta: { k: 1 },
  }
  test('trap 26: links and embedded resources are items; all of one result in one question', () => {
    expect(keys('tools/call', result)).toEqual([
      'link test://seen/1',
      'embedded test://hidden',
      'embedded test://seen/2',
    ])
    expect(left('tools/call', result)).toEqual({
      ...result,
      content: [text, link('test://seen/1'), embedded('test://seen/2')],
    })
  })
  test('an address is asked about as a client will read it, and goes where readers may differ', () => {
    const odd = [
      'HTTPS://Seen.example',
      'test://seen/a/../b',
      'test:\\seen',
      'https://u:p@seen/',
      'seen',
      'x:\nseen',
    ]
    const content = odd.map(link)
    expect(keys('tools/call', { content })).toEqual(['link https://seen.example/', 'link test://seen/b'])
    expect(left('tools/call', { content })).toEqual({ content: content.slice(0, 2) })
  })
  test.each([
    ['content that is no list', { content: {} }],
    ['a block that is none', { content: ['x'] }],
  ])('%s is no result', (_name, broken) => expect(named('tools/call', broken)).toBeUndefined())
  test('without content there is nothing to ask', () => {
    expect(left('tools/call', { structuredContent: { a: 1 } })).toEqual({ structuredContent: { a: 1 } })
  })
  test('an embedded resource without an address is not shown', () => {
    expect(left('tools/call', { content: [{ type: 'resource', resource: { text: 'x' } }] })).toEqual({
      content: [],
    })
  })
})

describe('prompts, resources, completions', () => {
  test('a message of a prompt that embeds what may not be seen goes', () => {
    const says = (content: JsonObject) => ({ role: 'user', content })
    const messages = [says(text), says(embedded('test://hidden')), says(embedded('test://seen'))]
    expect(left('prompts/get', { messages })).toEqual({ messages: [messages[0], messages[2]] })
    expect(named('prompts/get', { messages: [{ role: 'user', content: [text] }] })).toBeUndefined()
  })
  test('what is read beyond what was asked for is embedded in the answer', () => {
    const contents = [{ uri: 'test://a' }, { uri: 'test://a/seen' }, { uri: 'test://b' }]
    expect(left('resources/read', { contents }, { uri: 'test://a' })).toEqual({
      contents: contents.slice(0, 2),
    })
  })
  test('completions: values, and how many there are', () => {
    const completion = { values: ['seen-1', 'other'], total: 9, hasMore: true }
    expect(keys('completion/complete', { completion })).toEqual(['completion seen-1', 'completion other'])
    expect(left('completion/complete', { completion })).toEqual({
      completion: { values: ['seen-1'], hasMore: true },
    })
    const whole = { values: ['seen'], total: 9 }
    expect(left('completion/complete', { completion: whole })).toEqual({ completion: whole })
    expect(named('completion/complete', { completion: { values: [1] } })).toBeUndefined()
    expect(named('completion/complete', {})).toBeUndefined()
  })
})

describe('capabilities', () => {
  const capabilities = {
    tools: { listChanged: true },
    'seen-tools': {},
    extensions: { 'io.example/seen': { a: 1 }, 'io.example/other': {} },
    experimental: {},
  }
  test.each(['initialize', 'server/discover'])(
    'trap 16: %s: each is an item, those of extensions too',
    (method) => {
      expect(keys(method, { capabilities })).toEqual([
        'capability tools',
        'capability seen-tools',
        'capability extensions/io.example/seen',
        'capability extensions/io.example/other',
      ])
      expect(left(method, { capabilities, instructions: 'i' })).toEqual({
        capabilities: { 'seen-tools': {}, extensions: { 'io.example/seen': { a: 1 } } },
        instructions: 'i',
      })
    },
  )
  test('a handshake without them is none', () => expect(named('initialize', {})).toBeUndefined())
})
