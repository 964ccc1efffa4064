import { expect, test } from 'vitest'
import { methodToServer } from '../../src/mcp/methods.ts'
import { isPermit, permitDecided, permitProtocol, readDecision } from '../../src/pdp/decision.ts'
import { readVisible } from '../../src/pdp/visible.ts'

const reason = { code: 'c', title: 't' }
const good = { allow: true, reasons: [reason] }

test('a decision of the contract’s form is read', () => {
  const whole = {
    ...good,
    dry_run: { allow: false, reasons: [] },
    message: 'm',
    retry: 'later',
    audit: 'best_effort',
    custom: { a: 1 },
  }
  expect(readDecision([{ result: whole }])).toEqual(whole)
})

test.each([
  ['undefined', []],
  ['two results', [{ result: good }, { result: good }]],
  ['no set', good],
  ['nothing', undefined],
  ['null', [{ result: null }]],
  ['true', [{ result: true }]],
  ['an array', [{ result: [good] }]],
  ['allow missing', [{ result: { reasons: [] } }]],
  ['allow "true"', [{ result: { ...good, allow: 'true' } }]],
  ['allow 1', [{ result: { ...good, allow: 1 } }]],
  ['another key', [{ result: { ...good, alow: true } }]],
  ['no reasons', [{ result: { allow: true } }]],
  ['a reason that is a string', [{ result: { allow: true, reasons: ['c'] } }]],
  ['a reason without a title', [{ result: { allow: true, reasons: [{ code: 'c' }] } }]],
  ['a reason with another key', [{ result: { allow: true, reasons: [{ ...reason, note: '' }] } }]],
  ['dry_run of another form', [{ result: { ...good, dry_run: true } }]],
  ['retry of another word', [{ result: { ...good, retry: 'soon' } }]],
  ['audit of another word', [{ result: { ...good, audit: 'none' } }]],
])('I4: %s is no decision', (_name, answers) => {
  expect(readDecision(answers)).toBeUndefined()
})

test('a permit is made of an allow only, and cannot be made elsewhere', () => {
  const allow = permitDecided({ allow: true, reasons: [] }, 'd')
  expect(allow && isPermit(allow)).toBe(true)
  expect(permitDecided({ allow: false, reasons: [] }, 'd')).toBeUndefined()
  expect(permitDecided({ allow: 'yes' as never, reasons: [] }, 'd')).toBeUndefined()
  expect(isPermit({ decision_id: 'd' } as never)).toBe(false)
  expect(permitProtocol(methodToServer('ping'), 'd')).toBeDefined()
  for (const method of ['tools/call', 'tools/list', 'initialize', 'unknown', 'stream/open']) {
    expect(permitProtocol(methodToServer(method), 'd')).toBeUndefined()
  }
})

test.each([
  ['undefined', []],
  ['an array', [{ result: [true] }]],
  ['an index out of range', [{ result: { 2: true } }]],
  ['a negative index', [{ result: { '-1': true } }]],
  ['an index in another spelling', [{ result: { '01': true } }]],
  ['a value that is neither true nor a schema', [{ result: { 0: 'yes' } }]],
  ['a schema beside something else', [{ result: { 0: { inputSchema: {}, name: 'x' } } }]],
])('visible: %s is no answer', (_name, answers) => {
  expect(readVisible(answers, 2)).toBeUndefined()
})

test('visible: false hides nothing by itself; what is not named is hidden', () => {
  expect(readVisible([{ result: { 0: false } }], 1)).toBeUndefined()
  expect(readVisible([{ result: {} }], 2)).toEqual(new Map())
  expect(readVisible([{ result: { 1: { inputSchema: { a: 1 } } } }], 2)).toEqual(
    new Map([[1, { inputSchema: { a: 1 } }]]),
  )
})
