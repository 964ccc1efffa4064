import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openDeadLetters } from '../../../../src/edge/audit/sinks/dead-letters.ts'
import { type Runner, runSink } from '../../../../src/edge/audit/sinks/runner.ts'
import type { Answer, Line, Sink } from '../../../../src/edge/audit/sinks/sink.ts'
import { memorySource, recordLine } from '../../../support/source.ts'

let folder = ''
const runners: Runner[] = []
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'mcp-sinks-'))
})
afterEach(async () => {
  await Promise.all(runners.splice(0).map((runner) => runner.stop(0)))
  rmSync(folder, { recursive: true, force: true })
})

const seqOf = ({ event }: Line): number => (event.custom as { seq: number }).seq
const ACCEPTED: Answer = { kind: 'accepted', said: 'ok' }

/** A sink that answers as `answers` says and keeps what it took. */
const start = (
  answers: (batch: Line[], attempt: number) => Answer | Promise<Answer>,
  settings: Partial<Parameters<typeof runSink>[3]> = {},
  limit = 1 << 20,
) => {
  const sent: number[][] = []
  const taken: number[] = []
  const said: string[] = []
  const source = memorySource()
  const sink: Sink = {
    name: 'test',
    type: 'test',
    to: 'memory',
    async send(batch) {
      sent.push(batch.map(seqOf))
      const answer = await answers(batch, sent.length)
      if (answer.kind === 'accepted') taken.push(...batch.map(seqOf))
      if (answer.kind === 'partly')
        batch.forEach((line, at) => {
          if (!answer.refused.has(at) && !answer.again.includes(at)) taken.push(seqOf(line))
        })
      return answer
    },
    async close() {},
  }
  const runner = runSink(
    sink,
    source,
    openDeadLetters(join(folder, 'dead-letters'), limit),
    {
      batching: { count: 4, bytes: 1 << 20, period: 0 },
      backoff: { least: 1, most: 4, slow: 4 },
      ...settings,
    },
    (_sink, answer) => said.push(answer.said),
  )
  runners.push(runner)
  const letters = () =>
    readFileSync(join(folder, 'dead-letters/test.jsonl'), 'utf8')
      .trimEnd()
      .split('\n')
      .map((text) => JSON.parse(text))
  return { sent, taken, said, source, runner, letters }
}
const lines = (count: number) => Array.from({ length: count }, (_, i) => recordLine(i + 1))
const numbers = (count: number) => Array.from({ length: count }, (_, i) => i + 1)

test('what is there goes in order, in batches, and the cursor follows what was taken', async () => {
  const { source, taken, sent, runner } = start(() => ACCEPTED)
  source.add(...lines(10))
  await expect.poll(source.committed).toBe(10)
  expect(taken).toEqual(numbers(10))
  expect(sent.map((batch) => batch.length)).toEqual([4, 4, 2])
  expect(runner.state()).toMatchObject({ up: true, events: 10, chunks: 3, failed: 0, retries: 0 })
})

test('a batch is sent again until it is taken; nothing overtakes it, and the cursor waits', async () => {
  let open = false
  const { source, taken, sent, said, runner } = start(() =>
    open ? ACCEPTED : { kind: 'retry', said: 'HTTP 503' },
  )
  source.add(...lines(6))
  await expect.poll(() => sent.length).toBeGreaterThan(5)
  expect(source.committed()).toBe(0)
  expect(new Set(sent.map((batch) => batch.join()))).toEqual(new Set(['1,2,3,4']))
  expect(runner.state()).toMatchObject({ up: false, error: 'HTTP 503' })
  open = true
  await expect.poll(source.committed).toBe(6)
  expect(taken).toEqual(numbers(6))
  // Said once, not at each attempt.
  expect(said).toEqual(['HTTP 503'])
  expect(runner.state().error).toBeUndefined()
})

test('Retry-After is kept, up to a bound', async () => {
  const pauses: number[] = []
  let last = 0
  const { source } = start((_batch, attempt) => {
    const now = performance.now()
    if (attempt > 1) pauses.push(now - last)
    last = now
    return attempt < 3 ? { kind: 'retry', said: '429', after: attempt === 1 ? 30 : 86_400_000 } : ACCEPTED
  })
  source.add(...lines(1))
  await expect.poll(source.committed).toBe(1)
  expect(pauses[0]).toBeGreaterThan(28)
  // A day was asked for; ten times the longest wait is what it gets.
  expect(pauses[1]).toBeGreaterThan(38)
})

test('what is too large is halved until it fits', async () => {
  const { source, taken, sent } = start((batch) =>
    batch.length > 1 ? { kind: 'too_large', said: 'HTTP 413' } : ACCEPTED,
  )
  source.add(...lines(8))
  await expect.poll(source.committed).toBe(8)
  expect(taken).toEqual(numbers(8))
  expect(sent[0]).toEqual([1, 2, 3, 4])
  expect(sent[1]).toEqual([1, 2])
})

test('one line that is too large alone, or refused, goes to the dead letters with its text and the reason', async () => {
  const { source, taken, runner, letters, said } = start((batch) => {
    if (batch.map(seqOf).includes(3)) return { kind: 'refused', said: 'HTTP 400', detail: 'no: private' }
    return batch.map(seqOf).includes(6) ? { kind: 'too_large', said: 'HTTP 413' } : ACCEPTED
  })
  const texts = lines(9)
  source.add(...texts)
  await expect.poll(source.committed).toBe(9)
  expect(taken).toEqual([1, 2, 4, 5, 7, 8, 9])
  expect(letters()).toEqual([
    { at: expect.any(String), sink: 'test', why: 'HTTP 400: no: private', event_id: 'e-3', line: texts[2] },
    { at: expect.any(String), sink: 'test', why: 'HTTP 413', event_id: 'e-6', line: texts[5] },
  ])
  expect(runner.state().deadLetters).toBe(2)
  // What a receiver wrote may quote the record: it is in no log.
  expect(said.join()).not.toContain('private')
})

test('items that failed for now are sent again, those refused are kept, the rest is not sent twice', async () => {
  const { source, taken, sent, letters } = start((_batch, attempt) =>
    attempt === 1
      ? { kind: 'partly', said: 'item status 429', refused: new Map([[0, 'mapping']]), again: [2] }
      : ACCEPTED,
  )
  source.add(...lines(4))
  await expect.poll(source.committed).toBe(4)
  expect(sent).toEqual([[1, 2, 3, 4], [3]])
  expect(taken).toEqual([2, 4, 3])
  expect(letters()).toMatchObject([{ event_id: 'e-1', why: 'mapping' }])
})

test('a line that is no JSON does not spoil its batch', async () => {
  const { source, taken, letters } = start(() => ACCEPTED)
  source.add(recordLine(1), '{"torn', recordLine(3))
  await expect.poll(source.committed).toBe(3)
  expect(taken).toEqual([1, 3])
  expect(letters()).toMatchObject([{ line: '{"torn', why: 'is no JSON object' }])
})

test('while dead letters cannot be kept, nothing goes on', async () => {
  const { source, runner } = start(() => ({ kind: 'refused', said: 'HTTP 400' }), {}, 10)
  source.add(...lines(2))
  await expect.poll(() => runner.state().error).toMatch(/dead letters: .* has reached 10 bytes/)
  expect(source.committed()).toBe(0)
})

test('only the kinds of events that were asked for are sent; the others are passed', async () => {
  const { source, taken } = start(() => ACCEPTED, { events: new Set(['decision']) })
  source.add(recordLine(1), recordLine(2, {}, { event: 'decision' }), recordLine(3))
  await expect.poll(source.committed).toBe(3)
  expect(taken).toEqual([2])
})

test('a stop sends what is there without waiting for company', async () => {
  const { source, taken, runner } = start(() => ACCEPTED, {
    batching: { count: 100, bytes: 1 << 20, period: 3_600_000 },
  })
  source.add(...lines(3))
  expect(await runner.stop(10_000)).toBe(true)
  expect(taken).toEqual(numbers(3))
  expect(source.committed()).toBe(3)
})

test('a stop while the receiver is away ends, and says that not all was taken', async () => {
  const { source, runner } = start(() => ({ kind: 'retry', said: 'away', after: 3_600_000 }), {
    backoff: { least: 3_600_000, most: 3_600_000, slow: 3_600_000 },
  })
  source.add(...lines(3))
  await expect.poll(() => runner.state().retries).toBe(1)
  expect(await runner.stop(10)).toBe(false)
  expect(source.committed()).toBe(0)
})

test('a receiver that has gone for good ends the sink and nothing else', async () => {
  const { source, sent, runner, said } = start(() => ({ kind: 'gone', said: 'EPIPE' }))
  source.add(...lines(2))
  await expect.poll(() => said).toEqual(['EPIPE'])
  source.add(recordLine(3))
  // Passed over, so that the spool can let go of it.
  await expect.poll(source.committed).toBe(3)
  expect(await runner.stop(1_000)).toBe(false)
  expect(sent).toHaveLength(1)
})

test('a cursor that cannot be written is said, and the batch comes again', async () => {
  const { source, taken, runner } = start(() => ACCEPTED)
  const commit = source.commit
  let broken = true
  source.commit = async (next) => {
    if (broken) throw new Error('ENOSPC')
    return commit(next)
  }
  source.add(...lines(1))
  await expect.poll(() => runner.state().error).toBe('ENOSPC')
  broken = false
  await expect.poll(source.committed).toBe(1)
  expect(new Set(taken)).toEqual(new Set([1]))
})

test('a closed spool ends the work', async () => {
  const { source, runner } = start(() => ACCEPTED)
  source.close()
  expect(await runner.stop(10_000)).toBe(true)
})

test('a sink that does not answer to its end does not keep the process', async () => {
  const { source, sent, runner } = start(() => new Promise<Answer>(() => undefined))
  source.add(...lines(1))
  await expect.poll(() => sent.length).toBe(1)
  expect(await runner.stop(1)).toBe(false)
})
