// The order in which each sink tries to deliver, whatever its receiver does: held by a receiver that takes nothing else.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { createBulkSink } from '../../../../src/edge/audit/sinks/bulk.ts'
import { openDeadLetters } from '../../../../src/edge/audit/sinks/dead-letters.ts'
import { createOpaSink } from '../../../../src/edge/audit/sinks/opa.ts'
import { createOtlpSink } from '../../../../src/edge/audit/sinks/otlp.ts'
import { createClient, type HttpTo } from '../../../../src/edge/audit/sinks/request.ts'
import { runSink } from '../../../../src/edge/audit/sinks/runner.ts'
import type { Sink } from '../../../../src/edge/audit/sinks/sink.ts'
import { createSplunkSink } from '../../../../src/edge/audit/sinks/splunk.ts'
import { toEcs } from '../../../../src/log/projections/ecs.ts'
import { toOtel } from '../../../../src/log/projections/otel.ts'
import { createRandom, type Random } from '../../../mcp/random.ts'
import type { Parsed } from '../../../support/raw.ts'
import { type Answers, answer, type Received, startReceiver } from '../../../support/receiver.ts'
import { memorySource, recordLine } from '../../../support/source.ts'

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

/**
 * The promise. Nothing that was not tried before is tried while something that was tried is neither taken nor refused
 * for good; a request begins with the oldest of what is open, and goes up; a new one goes on where the last ended.
 */
const createOrder = () => {
  let newest = 0
  let open = new Set<number>()
  const faults: string[] = []
  return {
    attempt(numbers: number[]) {
      const rising = numbers.every((number, at) => at === 0 || number > (numbers[at - 1] ?? 0))
      const right =
        open.size > 0
          ? numbers[0] === Math.min(...open) && numbers.every((number) => open.has(number))
          : numbers.every((number, at) => number === newest + 1 + at)
      if (!rising || !right || numbers.length === 0)
        faults.push(`[${numbers}] while open are [${[...open]}] and ${newest} was the newest`)
      newest = Math.max(newest, ...numbers)
      for (const number of numbers) open.add(number)
    },
    /** taken, or refused for good */
    settle(numbers: number[]) {
      open = new Set([...open].filter((number) => !numbers.includes(number)))
    },
    faults,
  }
}
type Order = ReturnType<typeof createOrder>

/** What a receiver does with a request, by its protocol: it says what it took. */
type World = {
  random: Random
  order: Order
  take: (numbers: number[]) => void
  isPoison: (number: number) => boolean
}
type Kind = {
  sink: (to: HttpTo, path: string) => Sink
  numbers: (request: Received) => number[]
  /** an answer to a request that is understood, and whole or in part taken */
  accept: (world: World, numbers: number[], request: Received, response: Parameters<Answers>[1]) => void
  /** whether a request that has what is never taken is refused as a whole */
  bisected: boolean
}

const LIMITS = { limit: 1 << 20, compress: true }
const splunk = (ack: boolean): Kind => {
  let acks = 0
  const waiting = new Map<number, number[]>()
  return {
    sink: (to, path) =>
      createSplunkSink(
        'test',
        {
          to: { ...to, url: new URL(`${path}/services/collector/event`) },
          meta: { sourcetype: 'mcp' },
          ...(ack && { ack: { channel: 'c', every: 1, within: 15 } }),
        },
        ({ text }) => text,
      ),
    numbers: ({ text }) => text.split('\n').map((line) => JSON.parse(line).event.custom.seq),
    bisected: false,
    accept({ random, order, take, isPoison }, numbers, request, response) {
      if (request.url.endsWith('/ack')) {
        const [id = -1] = JSON.parse(request.text).acks as number[]
        const known = waiting.get(id)
        // Some are never said: what they are of is sent again.
        const said = known !== undefined && random.chance(0.8)
        if (said) order.settle(known)
        waiting.delete(id)
        return answer(response, 200, { acks: { [id]: said } })
      }
      const bad = numbers.findIndex(isPoison)
      if (bad >= 0) {
        order.settle([numbers[bad] as number])
        return answer(response, 400, { text: 'Invalid data format', code: 6, 'invalid-event-number': bad })
      }
      take(numbers)
      if (!ack) order.settle(numbers)
      else waiting.set(acks, numbers)
      answer(response, 200, { text: 'Success', code: 0, ...(ack && { ackId: acks++ }) })
    },
  }
}
const KINDS: Record<string, Kind> = {
  "OPA's decision-log API": {
    sink: (to, path) =>
      createOpaSink(
        { name: 'test', type: 'http', to: path },
        createClient({ ...to, compress: false }),
        LIMITS,
        ({ text }) => text,
      ),
    numbers: ({ text }) => (JSON.parse(text) as Parsed[]).map(({ custom }) => custom.seq),
    bisected: true,
    accept({ order, take }, numbers, _request, response) {
      take(numbers)
      order.settle(numbers)
      answer(response, 200)
    },
  },
  Splunk: splunk(false),
  'Splunk with acknowledgement': splunk(true),
  'Elasticsearch and OpenSearch': {
    sink: (to) =>
      createBulkSink('test', 'opensearch', to, 'logs', ({ event }) => JSON.stringify(toEcs(event))),
    numbers: ({ text }) =>
      text
        .trimEnd()
        .split('\n')
        .flatMap((line, at) => (at % 2 === 1 ? [JSON.parse(line).event.sequence as number] : [])),
    bisected: false,
    accept({ random, order, take, isPoison }, numbers, _request, response) {
      const items = numbers.map((number) => {
        if (isPoison(number)) {
          order.settle([number])
          return { create: { status: 400, error: { type: 'document_parsing_exception', reason: 'no' } } }
        }
        if (random.chance(0.3))
          return { create: { status: 429, error: { type: 'es_rejected_execution_exception', reason: 'q' } } }
        take([number])
        order.settle([number])
        return { create: { status: 201 } }
      })
      answer(response, 200, { errors: true, items })
    },
  },
  OTLP: {
    sink: (to) => createOtlpSink('test', to, '1', ({ event, text }) => toOtel(event, text)),
    numbers: ({ text }) =>
      (JSON.parse(text) as Parsed).resourceLogs.flatMap(({ scopeLogs }: Parsed) =>
        scopeLogs.flatMap(({ logRecords }: Parsed) =>
          logRecords.map(({ attributes }: Parsed) =>
            Number(attributes.find(({ key }: Parsed) => key === 'mcp.audit.seq').value.intValue),
          ),
        ),
      ),
    bisected: false,
    accept({ order, take, isPoison }, numbers, _request, response) {
      const rejected = numbers.filter(isPoison)
      take(numbers.filter((number) => !isPoison(number)))
      order.settle(numbers)
      answer(response, 200, {
        partialSuccess:
          rejected.length === 0 ? null : { rejectedLogRecords: rejected.length, errorMessage: 'no' },
      })
    },
  },
}

const COUNT = 150
test.each(Object.entries(KINDS))(
  '%s: nothing later is tried while something earlier is open',
  async (_name, kind) => {
    for (const seed of [1, 2, 3]) {
      const random = createRandom(seed)
      const poison = new Set(
        Array.from({ length: COUNT }, (_, at) => at + 1).filter(() => random.chance(0.04)),
      )
      const order = createOrder()
      const taken: number[] = []
      const take = (numbers: number[]) => void taken.push(...numbers)
      const isPoison = (number: number) => poison.has(number)
      const world: World = { random, order, take, isPoison }
      const receiver = await startReceiver((request, response, socket) => {
        if (request.url.endsWith('/ack')) return kind.accept(world, [], request, response)
        const numbers = kind.numbers(request)
        order.attempt(numbers)
        if (numbers.length > 4 && random.chance(0.2)) return answer(response, 413)
        if (random.chance(0.1)) return answer(response, 503)
        if (random.chance(0.1)) return answer(response, 429, '', { 'retry-after': '0' })
        if (random.chance(0.05)) return void socket.destroy()
        if (random.chance(0.05)) {
          // Taken, and nobody is told so.
          take(numbers.filter((number) => !isPoison(number)))
          return void socket.destroy()
        }
        if (kind.bisected && numbers.some(isPoison)) {
          if (numbers.length === 1) order.settle(numbers)
          return answer(response, 400)
        }
        return kind.accept(world, numbers, request, response)
      })
      ends.push(receiver.close)
      const to = {
        url: new URL(`${receiver.url}/logs`),
        headers: {},
        tls: {},
        timeout: 5_000,
        compress: true,
      }
      const folder = mkdtempSync(join(tmpdir(), 'mcp-order-'))
      ends.push(() => rmSync(folder, { recursive: true }))
      const source = memorySource()
      const runner = runSink(
        kind.sink(to, receiver.url),
        source,
        openDeadLetters(folder, 1 << 20),
        { batching: { count: 9, bytes: 1 << 20, period: 0 }, backoff: { least: 0, most: 1, slow: 1 } },
        () => undefined,
      )
      ends.push(() => runner.stop(0))
      for (let number = 1; number <= COUNT; number++) source.add(recordLine(number))
      await expect.poll(source.committed, { timeout: 15_000 }).toBe(COUNT)
      expect(order.faults).toEqual([])
      // Zero lost: each is taken or with the dead letters, and what is never taken is never said to be.
      const letters = readFileSync(join(folder, 'test.jsonl'), 'utf8')
        .trimEnd()
        .split('\n')
        .map((text) => JSON.parse(JSON.parse(text).line).custom.seq as number)
      expect(new Set([...taken, ...letters]).size).toBe(COUNT)
      expect(taken.filter(isPoison)).toEqual([])
      for (const number of poison) expect(letters).toContain(number)
    }
  },
)

test('the promise is one that can be broken: a receiver sees what overtakes', () => {
  const overtaken = createOrder()
  overtaken.attempt([1, 2, 3])
  overtaken.settle([1, 3])
  overtaken.attempt([4, 5])
  expect(overtaken.faults).toHaveLength(1)
  const skipped = createOrder()
  skipped.attempt([1])
  skipped.settle([1])
  skipped.attempt([3])
  expect(skipped.faults).toHaveLength(1)
  const turned = createOrder()
  turned.attempt([2, 1])
  expect(turned.faults).toHaveLength(1)
})
