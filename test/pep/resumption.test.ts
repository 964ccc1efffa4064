// 2025-11-25, "Resumability and Redelivery": what a stream brings later is no less screened than what it brought first.
import { describe, expect, test } from 'vitest'
import { finishLine, type OpenLine } from '../../src/log/event.ts'
import { DEFAULT_JSON_LIMITS } from '../../src/mcp/strict-json.ts'
import type { Identity } from '../../src/pdp/identity.ts'
import { createHandler } from '../../src/pep/handle.ts'
import { createKept } from '../../src/pep/kept.ts'
import { createPlaces } from '../../src/pep/place.ts'
import type { Answer, Arrival, Call, Question, StreamItem, UpstreamFrame } from '../../src/pep/ports.ts'
import { createSealer, type Session } from '../../src/pep/session.ts'
import { createTasks } from '../../src/pep/tasks.ts'

const alice: Identity = {
  source: 'pomerium',
  subject: 'alice',
  groups: [],
  issuer: 'i',
  audience: 'a',
  claims: {},
}
const SECRET = Buffer.from('a key for tests only')
const sealer = createSealer(SECRET)
const session: Session = {
  upstream: 'up-1',
  owner: { issuer: 'i', subject: 'alice', audience: 'a' },
  version: '2025-11-25',
  issued: 0,
}

/** @param visible what of the items may be seen, by key */
function handlerIn(frames: UpstreamFrame[], visible: (key: string) => boolean = () => true) {
  const calls: Call[] = []
  const questions: Question[] = []
  const lines: { custom: Record<string, unknown> }[] = []
  let id = 0
  const handle = createHandler({
    ports: {
      judge: async (question) => {
        questions.push(question)
        if (question.ask === 'visible') {
          const seen = (question.draft.items ?? []).flatMap(({ key }, i): [number, true][] =>
            visible(key) ? [[i, true]] : [],
          )
          return { kind: 'visible', visible: seen }
        }
        if (question.ask === 'identity') return { kind: 'identified', identity: alice }
        const line = JSON.stringify({ custom: { event: 'decision' } }).slice(0, -2) as OpenLine
        return { kind: 'decided', identity: alice, decision: { allow: true, reasons: [] }, line }
      },
      forward: async (_permit, call) => {
        calls.push(call)
        return {
          kind: 'stream',
          frames: (async function* () {
            yield* frames
          })(),
        }
      },
      decline: () => {},
      record: async (line) => lines.push(JSON.parse(finishLine(line, lines.length + 1))) > 0,
      count: () => {},
      now: () => 1_795_379_900_000,
      newId: () => `id-${++id}`,
    },
    settings: {
      server: 'github',
      limits: DEFAULT_JSON_LIMITS,
      forwardsAuthorization: false,
      eras: ['legacy', 'modern'],
      streamMaxAge: 900_000,
      digestKey: Buffer.from('digest'),
    },
    ...createKept(SECRET, () => 1_795_379_900_000),
    narrows: () => false,
    origin: () => ({ labels: {}, bundles: {} }),
  })
  const send = async (message: object, headers: Arrival['headers'] = { sessionId: sealer.seal(session) }) =>
    handle(arrival({ body: Buffer.from(JSON.stringify({ jsonrpc: '2.0', ...message })), headers }))
  const resume = (lastEventId: string, of: Session = session) =>
    handle(arrival({ verb: 'GET', headers: { sessionId: sealer.seal(of), lastEventId } }))
  return { handle, send, resume, calls, questions, lines }
}

const arrival = (more: Partial<Arrival>): Arrival => ({
  verb: 'POST',
  body: Buffer.alloc(0),
  headers: {},
  who: { assertion: 'a.b.c' },
  authorization: undefined,
  http: {},
  trace: {},
  signal: new AbortController().signal,
  ...more,
})
async function itemsOf(answer: Answer): Promise<StreamItem[]> {
  const items: StreamItem[] = []
  if (answer.kind !== 'stream') throw new Error(JSON.stringify(answer))
  for await (const item of answer.items) items.push(item)
  return items
}
const frame = (message: object, id?: string): UpstreamFrame => ({
  data: JSON.stringify({ jsonrpc: '2.0', ...message }),
  ...(id !== undefined && { id }),
})
const call = { id: 7, method: 'tools/call', params: { name: 'get_me', arguments: {} } }
const list = { id: 8, method: 'tools/list' }
const said = { id: 7, result: { content: [{ type: 'text', text: 'a secret' }] } }
const prime: UpstreamFrame = { data: '', id: 'up/0', retry: 500 }

/** The id that the priming event of a call's stream gets. */
async function placeIn(message: object): Promise<string> {
  const [first] = await itemsOf(await handlerIn([prime]).send(message))
  return first?.id ?? ''
}

describe('a stream that can be resumed', () => {
  test('trap 9: priming events, ids and waits go on, the ids sealed', async () => {
    const items = await itemsOf(await handlerIn([prime, frame(said, 'up/1')]).send(call))
    expect(items).toMatchObject([
      { text: '', final: false, retry: 500 },
      { text: expect.stringContaining('a secret'), final: true },
    ])
    const [primed, last] = items.map((item) => item.id ?? '')
    expect(primed).toMatch(/^v1\./)
    expect(JSON.stringify(items)).not.toContain('up/')
    expect(sealer.places.open(primed ?? '', session)).toMatchObject({
      id: 'up/0',
      call: { decision_id: 'id-1', id: 7, method: 'tools/call', name: 'get_me' },
    })
    expect(sealer.places.open(last ?? '', session)?.id).toBe('up/1')
  })

  test('may end before the response; one that cannot be resumed is answered then', async () => {
    const world = handlerIn([prime])
    expect(await itemsOf(await world.send(call))).toHaveLength(1)
    expect(world.lines.at(-1)?.custom).toMatchObject({ event: 'outcome', end: 'resumable' })
    const without = handlerIn([{ data: '', retry: 500 }])
    const [, answer] = await itemsOf(await without.send(call))
    expect(JSON.parse(answer?.text ?? '')).toMatchObject({ id: 7, error: { code: 502 } })
    expect(without.lines.at(-1)?.custom).toMatchObject({ end: 'upstream_failed' })
  })

  test('has no ids in 2026-07-28', async () => {
    const _meta = {
      'io.modelcontextprotocol/protocolVersion': '2026-07-28',
      'io.modelcontextprotocol/clientCapabilities': {},
    }
    const modern = await handlerIn([prime, frame(said, 'up/1')]).send(
      { ...call, params: { ...call.params, _meta } },
      {
        protocolVersion: '2026-07-28',
        method: 'tools/call',
        name: 'get_me',
        sessionId: sealer.seal(session),
        lastEventId: await placeIn(call),
      },
    )
    expect((await itemsOf(modern)).map(({ id, retry }) => [id, retry])).toEqual([[undefined, undefined]])
  })

  test.each(['', ' ', 'a\nb', 'é', 'x'.repeat(1025)])('has none for an id like %j', async (id) => {
    const items = await itemsOf(await handlerIn([{ data: '', id, retry: 1 }, frame(said, id)]).send(call))
    expect(items.map((item) => item.id)).toEqual([undefined, undefined])
  })

  test.each(['completion/complete', 'logging/setLevel', 'ping'])(
    'has none for %s, whose answer could not be screened later',
    async (method) => {
      const params = { ref: { type: 'ref/prompt', name: 'p' }, argument: { name: 'a', value: '' } }
      const items = await itemsOf(await handlerIn([prime]).send({ id: 7, method, params }))
      expect(items.map((item) => item.id)).toEqual([undefined, undefined])
    },
  )

  test('has none where the name of the call is too long to be sealed', async () => {
    const long = { ...call, params: { name: 'x'.repeat(4000) } }
    expect((await itemsOf(await handlerIn([prime]).send(long))).map((item) => item.id)).toEqual([
      undefined,
      undefined,
    ])
  })
})

describe('resuming', () => {
  test('asks the policy, with the call that it is within, and the upstream by its own id', async () => {
    const world = handlerIn([frame(said, 'up/1')])
    const token = await placeIn(call)
    const [item] = await itemsOf(await world.resume(token))
    expect(item).toMatchObject({ final: true, text: expect.stringContaining('a secret') })
    expect(sealer.places.open(item?.id ?? '', session)).toMatchObject({ id: 'up/1', call: { id: 7 } })
    expect(world.calls[0]).toMatchObject({ kind: 'open', lastEventId: 'up/0', session: 'up-1' })
    expect(world.questions[0]?.draft).toMatchObject({
      method: 'stream/open',
      kind: 'stream',
      parent: { decision_id: 'id-1', method: 'tools/call', tool: 'get_me' },
      params: { lastEventId: expect.stringMatching(/^hmac:/) },
    })
    expect(JSON.stringify(world.questions)).not.toContain(token)
  })

  test.each([
    ['another session of the same person', { ...session, upstream: 'up-2' }],
    ['another person', { ...session, owner: { ...session.owner, subject: 'bob' } }],
    ['another route', { ...session, owner: { ...session.owner, audience: 'b' } }],
  ])('D5: an event id of %s is 404, and nothing is asked', async (_name, of) => {
    const world = handlerIn([frame(said)])
    expect(await world.resume(await placeIn(call), of)).toMatchObject({ kind: 'message', status: 404 })
    expect(world.calls).toEqual([])
    expect(world.lines.at(-1)?.custom).toMatchObject({ cause: { code: 'unknown_event' } })
  })

  test('D5: an id that we did not seal is 404: the upstream’s own, a session, one of another key, one with a bit changed', async () => {
    const token = await placeIn(call)
    const other = createPlaces(Buffer.from('another key')).seal({ id: 'up/0' }, session) ?? ''
    const changed = token.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A'))
    for (const bad of ['up/0', '', 'v1.', sealer.seal(session), other, changed, `${token}A`]) {
      const world = handlerIn([frame(said)])
      expect(await world.resume(bad)).toMatchObject({ status: 404 })
      expect(world.calls).toEqual([])
    }
  })

  test('of a server without sessions is bound to the person alone', async () => {
    const [first] = await itemsOf(await handlerIn([prime]).send(call, {}))
    const lastEventId = first?.id ?? ''
    const get = (subject: string, headers: Arrival['headers']) => {
      const claims = Buffer.from(JSON.stringify({ iss: 'i', sub: subject, aud: 'a' })).toString('base64url')
      const world = handlerIn([frame(said)])
      return world.handle(arrival({ verb: 'GET', headers, who: { assertion: `a.${claims}.c` } }))
    }
    expect(await itemsOf(await get('alice', { lastEventId }))).toMatchObject([{ final: true }])
    expect(await get('bob', { lastEventId })).toMatchObject({ status: 404 })
    expect(await get('alice', { lastEventId, sessionId: sealer.seal(session) })).toMatchObject({
      status: 404,
    })
    expect(await get('alice', { lastEventId: await placeIn(call) })).toMatchObject({ status: 404 })
    expect(await get('alice', {})).toMatchObject({ status: 405 })
  })

  test('trap 8: a replayed list is narrowed by what may be seen now', async () => {
    const tools = ['get_me', 'merge'].map((name) => ({ name, inputSchema: { type: 'object' } }))
    const world = handlerIn([frame({ id: 8, result: { tools } })], (key) => key === 'get_me')
    const [item] = await itemsOf(await world.resume(await placeIn(list)))
    expect(JSON.parse(item?.text ?? '').result.tools).toMatchObject([{ name: 'get_me' }])
    expect(world.questions.at(-1)).toMatchObject({ ask: 'visible', draft: { method: 'tools/list' } })
  })

  test.each([
    ['a result', said],
    ['an error', { id: 7, error: { code: -32000, message: 'a secret' } }],
  ])('trap 8: %s of a call that is not granted any more is withheld', async (_name, late) => {
    const world = handlerIn([frame(late, 'up/1')], () => false)
    const [item, ...more] = await itemsOf(await world.resume(await placeIn(call)))
    expect(more).toEqual([])
    expect(item?.text).not.toContain('a secret')
    expect(JSON.parse(item?.text ?? '')).toMatchObject({ id: 7, result: { isError: true } })
    expect(item?.text).toContain('no_longer_granted')
    expect(world.lines.at(-1)?.custom).toMatchObject({
      end: 'not_delivered',
      cause: { code: 'no_longer_visible' },
    })
  })

  test('D6: an answer to another request is not delivered', async () => {
    const world = handlerIn([frame({ ...said, id: 9 }), frame(said)])
    const items = await itemsOf(await world.resume(await placeIn(call)))
    expect(items.map((item) => JSON.parse(item.text).id)).toEqual([7])
    const ofSession = sealer.places.seal({ id: 'up/0' }, session) ?? ''
    const stream = handlerIn([frame(said)])
    expect(await itemsOf(await stream.resume(ofSession))).toEqual([])
    expect(stream.lines.at(-1)?.custom).toMatchObject({ dropped: 1, end: 'complete' })
  })
})

describe('the stream of what a task came to', () => {
  const of = (owner = session.owner) =>
    createTasks(SECRET).seal({ upstream: 'task-1', owner, method: 'tools/call', tool: 'get_me' })
  const about = (method: string, taskId = of()) => ({ id: 7, method, params: { taskId } })
  const result = {
    content: [
      { type: 'text', text: 'a secret' },
      { type: 'resource_link', uri: 'test://hidden', name: 'h' },
    ],
  }
  const sees = (key: string) => key === 'get_me'

  test('is resumed by who started it, also after a restart, and screened as the answer to the call', async () => {
    const world = handlerIn([frame({ id: 7, result }, 'up/1')], sees)
    const [item] = await itemsOf(await world.resume(await placeIn(about('tasks/result'))))
    expect(JSON.parse(item?.text ?? '').result.content).toEqual([{ type: 'text', text: 'a secret' }])
    expect(sealer.places.open(item?.id ?? '', session)).toMatchObject({ call: { method: 'tasks/result' } })
    expect(world.questions[0]?.draft).toMatchObject({
      method: 'stream/open',
      task: { owner: 'same', tool: 'get_me', digest: expect.stringMatching(/^hmac:/) },
      parent: { method: 'tasks/result', tool: 'get_me' },
    })
  })

  test('is withheld where its tool is not granted any more', async () => {
    const world = handlerIn([frame({ id: 7, result })], () => false)
    const [item] = await itemsOf(await world.resume(await placeIn(about('tasks/result'))))
    expect(item?.text).not.toContain('a secret')
    expect(item?.text).toContain('no_longer_granted')
  })

  test('has the client’s id of the task', async () => {
    const status = { taskId: 'task-1', status: 'working' }
    const world = handlerIn([frame({ id: 7, result: status })], sees)
    const [item] = await itemsOf(await world.resume(await placeIn(about('tasks/get'))))
    expect(JSON.parse(item?.text ?? '').result).toEqual({ ...status, taskId: of() })
    const other = handlerIn([frame({ id: 7, result: { ...status, taskId: 'task-2' } })], sees)
    const [none] = await itemsOf(await other.resume(await placeIn(about('tasks/get'))))
    expect(JSON.parse(none?.text ?? '').error.code).toBe(502)
  })

  test('of another person’s task is 404', async () => {
    const stolen = of({ ...session.owner, subject: 'bob' })
    const place = { id: 'up/0', call: { decision_id: 'd', id: 7, method: 'tasks/result', name: stolen } }
    const world = handlerIn([frame({ id: 7, result })], sees)
    for (const name of [stolen, 'task-1', undefined]) {
      const { name: _, ...rest } = place.call
      const call = name === undefined ? rest : { ...rest, name }
      const token = sealer.places.seal({ ...place, call }, session) ?? ''
      expect(await world.resume(token)).toMatchObject({ status: 404 })
    }
    expect(world.calls).toEqual([])
  })
})
