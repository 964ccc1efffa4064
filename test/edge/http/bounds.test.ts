// What one identity, and all together, may take.
import { connect } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, test } from 'vitest'
import { type BoundSettings, createBounds, type Place } from '../../../src/edge/http/bounds.ts'
import { watchMemory } from '../../../src/edge/http/memory.ts'
import type { OpenLine } from '../../../src/log/event.ts'
import type { Identity } from '../../../src/pdp/identity.ts'
import type { Ports } from '../../../src/pep/ports.ts'
import { encode } from '../../support/assertions.ts'
import { postBytes, sendRaw } from '../../support/raw.ts'
import { allowsAlice, listen, OPENS_STREAM, SESSION } from './in-process.ts'

const person = (subject: string): Identity => ({
  source: 'pomerium',
  subject,
  groups: [],
  issuer: 'i',
  audience: 'a',
  claims: {},
})
const assertionOf = (sub: string) =>
  `${encode('{}')}.${encode(JSON.stringify({ iss: 'i', aud: 'a', sub }))}.${encode('s')}`
const SETTINGS: BoundSettings = {
  connections: 10,
  inFlight: 3,
  inFlightBytes: 100,
  streams: 3,
  perSecond: 100,
  identityInFlight: 2,
  identityStreams: 1,
  identityPerSecond: 5,
  memoryPercent: 85,
}

describe('the counts', () => {
  const open = (more: Partial<BoundSettings> = {}) => {
    let time = 0
    const bounds = createBounds(
      { ...SETTINGS, ...more },
      () => time,
      () => false,
    )
    const enter = (verb = 'POST') => {
      const place = bounds.enter(verb)
      if (typeof place === 'string') throw new Error(place)
      return place
    }
    const pass = (ms: number) => {
      time += ms
    }
    return { bounds, enter, pass }
  }

  test('all together: so many at a time, streams apart, and who leaves twice leaves once', () => {
    const { bounds, enter } = open()
    const places = [enter(), enter(), enter()]
    expect(bounds.enter('POST')).toBe('too_many')
    const streams = [enter('GET'), enter('GET'), enter('GET')]
    expect(bounds.enter('GET')).toBe('too_many_streams')
    places[0]?.leave()
    places[0]?.leave()
    enter()
    expect(bounds.enter('POST')).toBe('too_many')
    streams[0]?.leave()
    enter('GET')
  })

  test('all together: so many a second, with a burst', () => {
    const { bounds, enter, pass } = open({ perSecond: 10, inFlight: 1000 })
    for (let i = 0; i < 20; i++) enter()
    expect(bounds.enter('POST')).toBe('too_fast')
    pass(100)
    enter()
    expect(bounds.enter('POST')).toBe('too_fast')
  })

  test('all together: so many bytes of bodies, given back when they are done with', () => {
    const { enter } = open()
    const [first, second] = [enter(), enter()]
    expect([first?.hold(60), second?.hold(40), second?.hold(1)]).toEqual([true, true, false])
    first?.leave()
    expect([second?.hold(60), second?.hold(1), first?.hold(1)]).toEqual([true, false, false])
  })

  test('one identity: at a time, streams, a second; another has its own', () => {
    const { bounds, enter, pass } = open({ inFlight: 1000, streams: 1000 })
    const admit = (name: string, verb = 'POST'): [string | undefined, Place] => {
      const place = enter(verb)
      return [place.admit(person(name)), place]
    }
    const [, first] = admit('alice')
    admit('alice')
    expect(admit('alice')[0]).toBe('identity_in_flight')
    expect(bounds.foresee('POST', { assertion: assertionOf('alice') })).toBe('identity_in_flight')
    expect(admit('bob')[0]).toBe(undefined)
    expect(bounds.foresee('POST', { assertion: assertionOf('bob') })).toBe(undefined)
    expect(admit('alice', 'GET')[0]).toBe(undefined)
    expect(admit('alice', 'GET')[0]).toBe('identity_streams')
    first.leave()
    expect(admit('alice')[0]).toBe(undefined)

    let spent: string | undefined
    for (let i = 0; i < 20 && !spent; i++) {
      const [reason, place] = admit('carol')
      spent = reason
      place.leave()
    }
    expect(spent).toBe('identity_rate')
    expect(bounds.foresee('GET', { assertion: assertionOf('carol') })).toBe('identity_rate')
    pass(1000)
    expect(admit('carol')[0]).toBe(undefined)
  })

  test('a request whose answer is a stream that stays counts as a stream, of one and of all', () => {
    const { bounds, enter } = open({ streams: 2, identityInFlight: 1 })
    const listens = (name: string) => {
      const place = enter()
      place.hold(60)
      return [place.admit(person(name), true), place] as const
    }
    const [reason, first] = listens('alice')
    expect(reason).toBe(undefined)
    // It is no request in hand any more, and its body is no body in hand.
    expect(enter().hold(100)).toBe(true)
    expect(enter().admit(person('alice'))).toBe(undefined)
    expect(enter('GET').admit(person('alice'))).toBe('identity_streams')
    const { enter: enterAgain } = open({ streams: 1 })
    const places = [enterAgain(), enterAgain()]
    expect(places.map((place, i) => place.admit(person(`p${i}`), true))).toEqual([
      undefined,
      'too_many_streams',
    ])
    expect(bounds.enter('GET')).toBe('too_many_streams')
    first.leave()
    first.leave()
    expect(typeof bounds.enter('GET')).toBe('object')
    expect(bounds.enter('GET')).toBe('too_many_streams')
  })

  test('what only claims to be somebody spends nothing of theirs', () => {
    const { bounds } = open()
    for (let i = 0; i < 1000; i++)
      expect(bounds.foresee('POST', { assertion: assertionOf('alice') })).toBe(undefined)
    expect(bounds.foresee('POST', { assertion: 'no.assertion' })).toBe(undefined)
  })

  test('100,000 identities are not remembered for ever', () => {
    const { enter, pass } = open({ perSecond: 1_000_000 })
    const before = live()
    for (let i = 0; i < 100_000; i++) {
      const place = enter()
      place.admit(person(`p${i}`))
      place.leave()
      pass(1)
    }
    expect(live() - before).toBeLessThan(10 << 20)
    // Held until here: what nobody holds is forgotten anyway.
    expect(enter).toBeDefined()
  })
})

/** Bytes that are still reachable. */
function live(): number {
  setFlagsFromString('--expose-gc')
  runInNewContext('gc')()
  return process.memoryUsage().heapUsed
}

const line = JSON.stringify({ custom: { event: 'decision' } }).slice(0, -2) as OpenLine
const judge =
  (identity = person('alice')): Ports['judge'] =>
  async () => ({ kind: 'decided', identity, decision: { allow: true, reasons: [] }, line })
const CALL = { jsonrpc: '2.0', id: 1, method: 'tools/list' }

describe('on the wire', () => {
  test('one identity beyond its bound: 429 that names it, Retry-After, a record, and nothing forwarded', async () => {
    let forwarded = 0
    const release = Promise.withResolvers<void>()
    const { port, lines } = await listen(
      {
        judge: judge(),
        forward: async () => {
          forwarded++
          await release.promise
          return { kind: 'failed', fault: 'upstream_failed' }
        },
      },
      { bounds: { identityInFlight: 1 } },
    )
    const held = sendRaw(port, postBytes(assertionOf('alice'), CALL))
    await expect.poll(() => forwarded).toBe(1)
    const { answers } = await sendRaw(port, postBytes(assertionOf('alice'), CALL))
    expect(answers[0]?.status).toBe(429)
    expect(answers[0]?.header('retry-after')).toBe('1')
    expect(answers[0]?.json().error).toMatchObject({
      message: expect.stringContaining('limits.identity_in_flight'),
      data: { reason: 'identity_in_flight' },
    })
    expect(lines.filter(({ custom }) => custom.cause?.code === 'identity_in_flight')).toHaveLength(1)
    expect(forwarded).toBe(1)
    release.resolve()
    await held
    // Its place is free again.
    expect((await sendRaw(port, postBytes(assertionOf('alice'), CALL))).answers[0]?.status).toBe(502)
  })

  test('subscriptions count as streams of their identity, and leave their place', async () => {
    const { port } = await listen(
      {
        judge: judge(),
        forward: async (_permit, call) => ({
          kind: 'stream',
          frames: (async function* () {
            await new Promise((resolve) => call.signal.addEventListener('abort', resolve, { once: true }))
            yield* []
          })(),
        }),
      },
      { bounds: { identityStreams: 1, identityInFlight: 1 } },
    )
    const method = 'subscriptions/listen'
    const _meta = {
      'io.modelcontextprotocol/protocolVersion': '2026-07-28',
      'io.modelcontextprotocol/clientCapabilities': {},
    }
    const bytes = postBytes(
      assertionOf('alice'),
      { jsonrpc: '2.0', id: 1, method, params: { _meta, notifications: { toolsListChanged: true } } },
      { 'mcp-protocol-version': '2026-07-28', 'mcp-method': method },
    )
    const socket = connect({ port, host: '127.0.0.1' })
    let text = ''
    socket.on('data', (chunk) => {
      text += chunk
    })
    socket.write(bytes)
    await expect.poll(() => text, { timeout: 10_000 }).toContain('text/event-stream')
    const { answers } = await sendRaw(port, bytes)
    expect(answers[0]?.status).toBe(429)
    expect(answers[0]?.json().error.data.reason).toBe('identity_streams')
    socket.destroy()
    await expect
      .poll(
        async () => {
          const next = connect({ port, host: '127.0.0.1' })
          const head = await new Promise<string>((resolve) => {
            next.once('data', (chunk) => resolve(String(chunk)))
            next.write(bytes)
          })
          next.destroy()
          return head.slice(0, 12)
        },
        { timeout: 10_000 },
      )
      .toBe('HTTP/1.1 200')
  })

  test('two at once that nobody has verified yet: the bound holds when they are', async () => {
    let forwarded = 0
    const { port } = await listen(
      {
        judge: async (question) => {
          await new Promise((resolve) => setTimeout(resolve, 20))
          return judge()(question)
        },
        forward: async (_permit, call) => {
          forwarded++
          await new Promise((resolve) => call.signal.addEventListener('abort', resolve))
          return { kind: 'failed', fault: 'upstream_failed' }
        },
      },
      { bounds: { identityInFlight: 1 } },
    )
    const asked = [1, 2, 3].map(() => sendRaw(port, postBytes(assertionOf('alice'), CALL), { timeout: 1000 }))
    const statuses = (await Promise.all(asked)).map(({ answers }) => answers[0]?.status)
    expect(statuses.sort()).toEqual([429, 429, undefined])
    expect(forwarded).toBe(1)
  })

  test('bodies that are too large together: 503 that names it, and nothing judged', async () => {
    let judged = 0
    const { port } = await listen(
      {
        judge: async (question) => {
          judged++
          return judge()(question)
        },
      },
      { bounds: { inFlightBytes: 40 } },
    )
    const { answers } = await sendRaw(port, postBytes(assertionOf('alice'), CALL))
    expect(answers[0]?.status).toBe(503)
    expect(answers[0]?.json().error.data.reason).toBe('too_many_bytes')
    expect(judged).toBe(0)
  })

  test('memory that is short: 503 that says so, before anything is read or judged', async () => {
    let judged = 0
    let low = true
    const { port } = await listen(
      {
        judge: async (question) => {
          judged++
          return judge()(question)
        },
      },
      { lowMemory: () => low },
    )
    const { answers } = await sendRaw(port, postBytes(assertionOf('alice'), CALL))
    expect(answers[0]?.status).toBe(503)
    expect(answers[0]?.json().error.data.reason).toBe('low_memory')
    expect(judged).toBe(0)
    low = false
    expect((await sendRaw(port, postBytes(assertionOf('alice'), CALL))).answers[0]?.status).toBe(502)
  })

  describe('memory that is short, and a session that is to end', () => {
    const deletion = (length = 0) =>
      `DELETE /mcp HTTP/1.1\r\nhost: a\r\nx-pomerium-jwt-assertion: a.b.c\r\nmcp-session-id: ${SESSION}\r\n` +
      `content-length: ${length}\r\n\r\n`
    const world = async (decides: Ports['judge']) => {
      const did: string[] = []
      const { port, lines } = await listen(
        {
          judge: async (question) => {
            did.push('judge')
            return decides(question)
          },
          forward: async () => {
            did.push(`forward after ${lines.length} record(s)`)
            return { kind: 'failed', fault: 'upstream_failed' }
          },
        },
        { lowMemory: () => true },
      )
      const send = async (bytes: string | Buffer) => (await sendRaw(port, bytes)).answers[0]
      return { did, send }
    }

    test('it is judged, recorded and sent, while nothing else is taken', async () => {
      const { did, send } = await world(allowsAlice)
      for (const bytes of [OPENS_STREAM, postBytes('a.b.c', CALL)])
        expect((await send(bytes))?.json().error.data.reason).toBe('low_memory')
      expect(did).toEqual([])
      expect((await send(deletion()))?.json().error.data.reason).toBe('upstream_failed')
      expect(did).toEqual(['judge', 'forward after 3 record(s)'])
    })

    test('what is denied is not sent', async () => {
      const { did, send } = await world(async (question) => ({
        ...(await allowsAlice(question)),
        decision: { allow: false, reasons: [] },
      }))
      expect((await send(deletion()))?.status).toBe(403)
      expect(did).toEqual(['judge'])
    })

    test('its body is refused with the first byte', async () => {
      const { did, send } = await world(allowsAlice)
      expect((await send(`${deletion(9000)}{`))?.json().error.data.reason).toBe('bad_http')
      expect(did).toEqual([])
    })
  })

  test('connections beyond the bound are told so; those within it go on', async () => {
    const { port } = await listen({ judge: judge() }, { bounds: { connections: 2 } })
    const held = [connect({ port, host: '127.0.0.1' }), connect({ port, host: '127.0.0.1' })]
    await Promise.all(held.map((socket) => new Promise((resolve) => socket.once('connect', resolve))))
    const { answers, closed } = await sendRaw(port, postBytes(assertionOf('alice'), CALL), { settle: 200 })
    expect(answers[0]?.status).toBe(503)
    expect(answers[0]?.json().error.data.reason).toBe('too_many_connections')
    expect(closed).toBe(true)
    const first = new Promise<string>((resolve) => held[0]?.once('data', (text) => resolve(String(text))))
    held[0]?.write(postBytes(assertionOf('alice'), CALL))
    expect(await first).toMatch(/^HTTP\/1.1 502/)
    for (const socket of held) socket.destroy()
  })
})

test('memory: what can be collected is, and only what stays makes it short', async () => {
  let used = 90
  let collected = 0
  const watch = (collect: () => void) => watchMemory(85, () => [{ used, most: 100 }], collect)
  const garbage = watch(() => {
    collected++
    used = 20
  })
  await expect.poll(() => collected).toBe(1)
  expect(garbage.short()).toBe(false)
  garbage.close()
  used = 90
  const held = watch(() => undefined)
  await expect.poll(() => held.short()).toBe(true)
  used = 20
  await expect.poll(() => held.short()).toBe(false)
  held.close()
})
