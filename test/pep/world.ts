import { expect } from 'vitest'
import type { OpenLine } from '../../src/log/event.ts'
import { finishLine } from '../../src/log/event.ts'
import { DEFAULT_JSON_LIMITS } from '../../src/mcp/strict-json.ts'
import { type Decision, isPermit } from '../../src/pdp/decision.ts'
import type { Identity } from '../../src/pdp/identity.ts'
import { createHandler } from '../../src/pep/handle.ts'
import { createKept } from '../../src/pep/kept.ts'
import type { Answer, Arrival, Call, Judgement, Ports, Question, Reply } from '../../src/pep/ports.ts'
import { createSealer } from '../../src/pep/session.ts'

export const alice: Identity = {
  source: 'pomerium',
  subject: 'alice',
  groups: [],
  issuer: 'i',
  audience: 'a',
  claims: {},
}
export const bob: Identity = { ...alice, subject: 'bob' }
export const allow: Decision = { allow: true, reasons: [{ code: 'granted', title: 'A grant covers it' }] }
export const denied: Decision = {
  allow: false,
  reasons: [{ code: 'merge_not_granted', title: 'Merging needs a grant', help: 'ask' }],
}
export const SECRET = Buffer.from('a key for tests only')
export const sealer = createSealer(SECRET)

export type World = {
  narrows?: boolean
  decision?: Decision
  judge?: (question: Question) => Judgement
  reply?: (call: Call) => Reply
  /** of each record, by its number */
  durable?: boolean | ((n: number) => boolean)
  eras?: ('legacy' | 'modern')[]
  forwards?: boolean
  streamAfterExpiry?: number
  /** what is kept between messages, of another world */
  kept?: ReturnType<typeof createKept>
}

/** A handler in a world of lambdas, and what it did to it, in order. */
export function handlerIn(world: World) {
  const did: string[] = []
  const calls: Call[] = []
  const lines: Record<string, unknown>[] = []
  const questions: Question[] = []
  const declined: unknown[] = []
  let id = 0
  const ports: Ports = {
    judge: async (question) => {
      questions.push(question)
      did.push(`judge ${question.ask}`)
      if (world.judge) return world.judge(question)
      if (question.ask === 'identity') return { kind: 'identified', identity: alice }
      if (question.ask === 'visible') return { kind: 'visible', visible: [[0, true]] }
      const line = JSON.stringify({ custom: { event: 'decision' } }).slice(0, -2) as OpenLine
      return { kind: 'decided', identity: alice, decision: world.decision ?? allow, line }
    },
    forward: async (permit, call) => {
      expect(isPermit(permit)).toBe(true)
      did.push('forward')
      calls.push(call)
      return world.reply?.(call) ?? message({ jsonrpc: '2.0', id: call.id ?? 0, result: { content: [] } })
    },
    decline: (_call, rpc, method) => void declined.push([rpc, method]),
    record: async (line) => {
      lines.push(JSON.parse(finishLine(line, lines.length + 1)))
      did.push('record')
      const { durable = true } = world
      return typeof durable === 'function' ? durable(lines.length) : durable
    },
    count: () => {},
    now: () => 1_795_379_900_000,
    newId: () => `id-${++id}`,
  }
  const { kept = createKept(SECRET, () => 1_795_379_900_000) } = world
  const handle = createHandler({
    ports,
    settings: {
      server: 'github',
      help: 'Ask in #platform',
      limits: DEFAULT_JSON_LIMITS,
      forwardsAuthorization: world.forwards ?? false,
      eras: world.eras ?? ['legacy', 'modern'],
      streamMaxAge: 900_000,
      ...(world.streamAfterExpiry !== undefined && { streamAfterExpiry: world.streamAfterExpiry }),
      digestKey: Buffer.from('digest'),
    },
    ...kept,
    narrows: () => world.narrows ?? false,
    origin: () => ({ labels: {}, bundles: { mcp: { revision: 'git:ab12' } } }),
  })
  return { handle, did, calls, lines, questions, declined, kept }
}

export const message = (body: unknown, status = 200): Reply => ({
  kind: 'message',
  status,
  body: Buffer.from(JSON.stringify(body)),
})
export const call = (
  name = 'merge_pull_request',
  args: object = { owner: 'acme' },
  id: string | number = 1,
) => ({
  jsonrpc: '2.0',
  id,
  method: 'tools/call',
  params: { name, arguments: args },
})
export const META = {
  'io.modelcontextprotocol/protocolVersion': '2026-07-28',
  'io.modelcontextprotocol/clientCapabilities': {},
}
export const modern = (
  body: { method: string; params: Record<string, unknown> },
  name?: string,
): Partial<Arrival> => ({
  body: Buffer.from(JSON.stringify({ ...body, params: { ...body.params, _meta: META } })),
  headers: { protocolVersion: '2026-07-28', method: body.method, ...(name !== undefined && { name }) },
})

export function arrival(body: unknown, more: Partial<Arrival> = {}): Arrival {
  return {
    verb: 'POST',
    body: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)),
    headers: {},
    who: { assertion: 'a.b.c' },
    authorization: undefined,
    http: {},
    trace: {},
    signal: new AbortController().signal,
    ...more,
  }
}

export const json = (answer: Answer) => JSON.parse(answer.kind === 'message' ? answer.text : 'null')
export const session = (owner = alice, upstream = 'up-1', version = '2025-06-18') =>
  sealer.seal({
    upstream,
    owner: { issuer: owner.issuer ?? '', subject: owner.subject, audience: owner.audience ?? '' },
    version,
    issued: 0,
  })
async function* frames(...texts: unknown[]) {
  for (const text of texts) yield { data: JSON.stringify(text) }
}
export const stream = (...texts: unknown[]): Reply => ({ kind: 'stream', frames: frames(...texts) })
export async function itemsOf(answer: Answer) {
  expect(answer.kind).toBe('stream')
  const items: unknown[] = []
  if (answer.kind === 'stream') for await (const item of answer.items) items.push(JSON.parse(item.text))
  return items
}

/** Someone's assertion, as far as it is read before it is verified. */
export const by = ({ issuer, subject, audience }: Identity): Partial<Arrival> => ({
  who: {
    assertion: `h.${Buffer.from(JSON.stringify({ iss: issuer, sub: subject, aud: audience })).toString('base64url')}.s`,
  },
})

/** A judge that knows who asks, whose what is, and allows what it is told to; it shows all but `hidden`. */
export const judging =
  (allows: (draft: Question['draft']) => boolean, who: () => Identity = () => alice) =>
  (question: Question): Judgement => {
    const identity = 'identity' in question.who ? question.who.identity : who()
    if (question.owner && question.owner.subject !== identity.subject)
      return { kind: 'foreign_session', identity }
    if (question.ask === 'identity') return { kind: 'identified', identity }
    if (question.ask === 'visible') {
      const shown = (question.draft.items ?? []).flatMap(({ key }, i) =>
        key.includes('hidden') ? [] : [[i, true] as [number, true]],
      )
      return { kind: 'visible', visible: shown }
    }
    const line = JSON.stringify({
      decision_id: question.draft.decision_id,
      custom: { event: 'decision', method: question.draft.method, kind: question.draft.kind },
    }).slice(0, -2) as OpenLine
    return { kind: 'decided', identity, decision: allows(question.draft) ? allow : denied, line }
  }
