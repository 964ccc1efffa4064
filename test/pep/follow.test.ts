import { describe, expect, test } from 'vitest'
import { createChanges, withChanges } from '../../src/pep/changes.ts'
import type { Call, Judgement, Reply, UpstreamFrame } from '../../src/pep/ports.ts'
import { alice, arrival, by, handlerIn, json, judging, message, modern, sealer } from './world.ts'

type Allows = Parameters<typeof judging>[0]
const OWNER = { issuer: 'i', subject: 'alice', audience: 'a' }
const VERSION = '2025-11-25'
const CAPABILITIES = 'io.modelcontextprotocol/clientCapabilities'
const SUBSCRIPTION = 'io.modelcontextprotocol/subscriptionId'

/** A stream of the upstream that a test feeds. */
function feed() {
  const queue: UpstreamFrame[] = []
  let wake = () => {}
  let over = false
  async function* frames() {
    for (;;) {
      const next = queue.shift()
      if (next) yield next
      else if (over) return
      else
        await new Promise<void>((resolve) => {
          wake = resolve
        })
    }
  }
  return {
    reply: (): Reply => ({ kind: 'stream', frames: frames() }),
    push: (body: object) => {
      queue.push({ data: JSON.stringify({ jsonrpc: '2.0', ...body }) })
      wake()
    },
    end: () => {
      over = true
      wake()
    },
  }
}

async function open(lists: string[], allows: Allows) {
  const upstream = feed()
  const at = handlerIn({ judge: judging(allows), reply: upstream.reply })
  const sessionId = sealer.seal({ upstream: 'up-1', owner: OWNER, version: VERSION, issued: 0, lists })
  const answer = await at.handle(arrival('', { verb: 'GET', headers: { sessionId }, ...by(alice) }))
  if (answer.kind !== 'stream') throw new Error(JSON.stringify(answer))
  const items = answer.items[Symbol.asyncIterator]()
  const next = async () => {
    const step = await items.next()
    return step.done ? undefined : JSON.parse(step.value.text)
  }
  return { ...at, ...upstream, answer, next }
}

/** What a client says of itself that knows tasks. */
const TASKS = { extensions: { 'io.modelcontextprotocol/tasks': {} } }

async function listen(allows: Allows, notifications: object, capabilities: object = {}) {
  const upstream = feed()
  const at = handlerIn({ judge: judging(allows), reply: upstream.reply })
  const { headers, body } = modern({ method: 'subscriptions/listen', params: { notifications } })
  const whole = { jsonrpc: '2.0', id: 'sub-1', ...JSON.parse(String(Buffer.from(body ?? []))) }
  whole.params._meta[CAPABILITIES] = capabilities
  const answer = await at.handle(arrival(whole, { ...(headers && { headers }), ...by(alice) }))
  const items = answer.kind === 'stream' ? answer.items[Symbol.asyncIterator]() : undefined
  const next = async () => {
    const step = await items?.next()
    return step && !step.done ? JSON.parse(step.value.text) : undefined
  }
  return { ...at, ...upstream, answer, next }
}

describe('the stream of a session', () => {
  test('trap 13: tells that the lists changed, where the handshake agreed on it, and nothing else', async () => {
    const at = await open(['tools', 'resources'], () => true)
    at.push({ method: 'notifications/message', params: { level: 'info', data: 1 } })
    expect(await at.next()).toMatchObject({ method: 'notifications/message' })
    at.kept.changes.announce()
    expect(await at.next()).toEqual({
      jsonrpc: '2.0',
      method: 'notifications/tools/list_changed',
      params: {},
    })
    expect(await at.next()).toMatchObject({ method: 'notifications/resources/list_changed' })
    expect(at.questions.at(-1)?.draft).toMatchObject({ method: 'stream/open', kind: 'stream' })
    expect(at.questions.at(-1)?.draft.decision_id).not.toBe('id-1')
    at.end()
    expect(await at.next()).toBeUndefined()
  })

  test('ends when the policy in force does not allow it any more', async () => {
    let allowed = true
    const at = await open(['tools'], () => allowed)
    const next = at.next()
    allowed = false
    at.kept.changes.announce()
    expect(await next).toBeUndefined()
    // The upstream says nothing more, so its stream is let go.
    expect(at.calls[0]?.signal.aborted).toBe(true)
    expect(at.lines.at(-1)).toMatchObject({
      custom: { event: 'outcome', end: 'cut', cause: { code: 'stream_revoked' }, disposition: 'allowed' },
    })
  })

  test('ends soon after the identity that opened it has expired', async () => {
    const upstream = feed()
    const now = 1_795_379_900_000
    const judge = judging(() => true)
    const at = handlerIn({
      // It expired 15 s ago, and may stay for 15.02 s after that.
      judge: (question) =>
        ({ ...judge(question), assertion: { jti: 'j', expires: now / 1000 - 15 } }) as Judgement,
      reply: upstream.reply,
      streamAfterExpiry: 15_020,
    })
    const sessionId = sealer.seal({ upstream: 'up-1', owner: OWNER, version: VERSION, issued: 0 })
    await at.handle(arrival('', { verb: 'GET', headers: { sessionId }, ...by(alice) }))
    const { signal } = at.calls[0] as Call
    expect(signal.aborted).toBe(false)
    await new Promise((resolve) => signal.addEventListener('abort', resolve))
  })

  test('hears of a resource only while it may be seen', async () => {
    const at = await open([], () => true)
    for (const uri of ['test://hidden', 'test://a/../hidden', 'test:\\x', 'test://shown'])
      at.push({ method: 'notifications/resources/updated', params: { uri } })
    expect(await at.next()).toMatchObject({ params: { uri: 'test://shown' } })
    expect(at.questions.at(-1)?.draft.items).toEqual([{ kind: 'resource', key: 'test://shown' }])
  })
})

describe('subscriptions/listen', () => {
  const all = {
    toolsListChanged: true,
    promptsListChanged: true,
    resourceSubscriptions: ['test://a', 'test://b'],
  }
  const acknowledged = (notifications: object) => ({
    method: 'notifications/subscriptions/acknowledged',
    params: { notifications, _meta: { [SUBSCRIPTION]: 'sub-1' } },
  })

  test('names each of its resources to the policy, which refuses it whole', async () => {
    const at = await listen(() => false, all)
    expect(at.questions[0]?.draft).toMatchObject({
      method: 'subscriptions/listen',
      resources: [
        { uri: 'test://a', scheme: 'test', host: 'a' },
        { uri: 'test://b', scheme: 'test', host: 'b' },
      ],
      params: { notifications: { toolsListChanged: true, promptsListChanged: true } },
    })
    expect(json(at.answer).error.code).toBe(403)
    expect(at.calls).toEqual([])
  })

  test.each<[string, object, string, object?]>([
    ['an address in another spelling', { resourceSubscriptions: ['test://a/../b'] }, 'bad_uri'],
    ['a key in another spelling', { ResourceSubscriptions: ['test://a'] }, 'bad_subscription'],
    ['addresses that are none', { resourceSubscriptions: 'test://a' }, 'bad_subscription'],
    ['tasks, where the client has not said that it knows tasks', { taskIds: [] }, 'missing_capability'],
    ['tasks that are none', { taskIds: 'x' }, 'bad_subscription', TASKS],
  ])('with %s is refused', async (_name, notifications, reason, capabilities) => {
    const at = await listen(() => true, notifications, capabilities)
    expect(json(at.answer).error.data.reason).toBe(reason)
    expect(at.calls).toEqual([])
  })

  test('is a stream that stays: it is told of a change by what the server granted', async () => {
    const at = await listen(() => true, all)
    expect(at.answer).toMatchObject({ kind: 'stream', long: true })
    expect(at.calls[0]?.long).toBe(true)
    at.push(acknowledged({ toolsListChanged: true }))
    expect(await at.next()).toMatchObject(acknowledged({ toolsListChanged: true }))
    at.kept.changes.announce()
    expect(await at.next()).toEqual({
      jsonrpc: '2.0',
      method: 'notifications/tools/list_changed',
      params: { _meta: { [SUBSCRIPTION]: 'sub-1' } },
    })
    at.push({ id: 'sub-1', result: { resultType: 'complete' } })
    expect(await at.next()).toMatchObject({ id: 'sub-1', result: {} })
    expect(await at.next()).toBeUndefined()
  })

  test('that is revoked ends with its denial', async () => {
    let allowed = true
    const at = await listen(() => allowed, all)
    const next = at.next()
    allowed = false
    at.kept.changes.announce()
    const last = await next
    expect(last).toMatchObject({ id: 'sub-1', error: { code: 403 } })
    expect(await at.next()).toBeUndefined()
  })

  test('a request of the server has no place in this revision', async () => {
    const at = await listen(() => true, all)
    at.push({ id: 1, method: 'sampling/createMessage', params: {} })
    at.push({ id: 'sub-1', result: {} })
    expect(await at.next()).toMatchObject({ id: 'sub-1' })
    expect(at.declined).toEqual([[1, 'sampling/createMessage']])
  })
})

describe('changes between frames', () => {
  test('come in turn, are one where they came together, and end with the source', async () => {
    const changes = createChanges()
    async function* source() {
      yield 'a'
      changes.announce()
      changes.announce()
      yield 'b'
    }
    const seen: (string | undefined)[] = []
    for await (const item of withChanges(source(), changes)) seen.push(item)
    expect(seen).toEqual(['a', undefined, 'b'])
  })
  test('whoever stops reading stops the source', async () => {
    const changes = createChanges()
    let stopped = false
    async function* source() {
      try {
        yield 'a'
        yield 'b'
      } finally {
        stopped = true
      }
    }
    for await (const _ of withChanges(source(), changes)) break
    expect(stopped).toBe(true)
  })
  test('a failure of the source is the reader’s', async () => {
    async function* source() {
      yield 'a'
      throw new Error('broke off')
    }
    const read = async () => {
      for await (const _ of withChanges(source(), createChanges()));
    }
    await expect(read()).rejects.toThrow('broke off')
  })
})

test('a handshake seals which lists tell of their changes', async () => {
  const result = {
    protocolVersion: VERSION,
    capabilities: { tools: { listChanged: true }, prompts: {}, resources: { listChanged: true } },
    serverInfo: { name: 's', version: '1' },
  }
  const at = handlerIn({
    judge: judging(() => true),
    reply: () => ({ ...message({ jsonrpc: '2.0', id: 0, result }), session: 'up' }) as Reply,
  })
  const params = { protocolVersion: VERSION, capabilities: {}, clientInfo: { name: 'c', version: '1' } }
  const answer = await at.handle(arrival({ jsonrpc: '2.0', id: 0, method: 'initialize', params }, by(alice)))
  expect(sealer.open(answer.kind === 'message' ? (answer.session ?? '') : '')?.lists).toEqual([
    'tools',
    'resources',
  ])
})
