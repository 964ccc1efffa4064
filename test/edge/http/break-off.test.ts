import { expect, test } from 'vitest'
import type { Ports } from '../../../src/pep/ports.ts'
import { listen } from './in-process.ts'

test.each<[string, Partial<Ports>]>([
  ['a judge that throws', { judge: () => Promise.reject(new Error('CANARY')) }],
  ['a judge that throws no Error', { judge: () => Promise.reject('CANARY') }],
])('%s: 500 with a decision id and a record, and the next request is served', async (_name, broken) => {
  const { ask, lines } = await listen(broken)
  for (let i = 0; i < 3; i++) {
    const answer = await ask()
    const body = await answer.text()
    expect(answer.status).toBe(500)
    expect(body).not.toContain('CANARY')
    const { decision_id } = JSON.parse(body).error.data
    expect(lines.find((line) => line.decision_id === decision_id)?.custom.cause?.code).toBe('internal')
  }
})

test('an answer that never comes holds one request, not the next', async () => {
  let first = true
  const { ask } = await listen({
    judge: () => {
      if (!first) return Promise.resolve({ kind: 'unavailable', fault: 'no_bundle' })
      first = false
      return new Promise(() => {})
    },
  })
  void ask().catch(() => undefined)
  await expect.poll(() => first).toBe(false)
  expect((await ask()).status).toBe(503)
})
