import { describe, expect, test } from 'vitest'
import { ARITHMETIC } from '../../../src/edge/judge/builtins/arithmetic.ts'
import { Num, OperandError, type Value } from '../../../src/edge/judge/builtins/value.ts'

const call = { now: () => 0n }
const num = (text: string) => new Num(text)
const shown = (answer: Value) => (answer as Num).text

describe('numbers come out as OPA 1.22 has them', () => {
  // As `opa eval 'json.marshal(1/3)'` and its like answer.
  test.each([
    ['plus', ['0.1', '0.2'], '0.3'],
    ['div', ['1', '3'], '0.33333333333333333334'],
    ['div', ['10', '5'], '2'],
    ['div', ['0', '-5'], '-0'],
    ['plus', ['1e30', '1'], '1000000000000000000000000000001'],
    ['plus', ['1e30', '0.5'], '1000000000000000000000000000000'],
    ['plus', ['123456789012345678901234567890', '0.5'], '123456789012345678900000000000'],
    ['mul', ['9007199254740993', '9007199254740993'], '81129638414606699710187514626049'],
    ['mul', ['0.00001', '1'], '1e-05'],
    ['plus', ['1234567.5', '0'], '1.2345675e+06'],
    ['plus', ['18446744073709551615.5', '0'], '18446744073709551616'],
    ['minus', ['1.5', '1.5'], '0'],
    ['rem', ['-7', '3'], '-1'],
    ['rem', ['18446744073709551617', '1e1'], '7'],
    // Not what one would count, but what OPA does.
    ['ceil', ['-0.5'], '1'],
    ['floor', ['-0.5'], '0'],
    ['ceil', ['1.2'], '2'],
    ['floor', ['-1.2'], '-2'],
    ['round', ['-2.5'], '-3'],
    ['abs', ['-1e25'], '10000000000000000000000000'],
  ] as const)('%s of %j is %s', (name, args, answer) => {
    expect(shown(ARITHMETIC[name](args.map(num), call))).toBe(answer)
  })

  test('sums and products', () => {
    const of = (...texts: string[]): [Value] => [texts.map(num)]
    expect(shown(ARITHMETIC.product(of('1.1', '1.1'), call))).toBe('1.2100000000000002')
    expect(shown(ARITHMETIC.product(of('9007199254740993', '3'), call))).toBe('27021597764222979')
    expect(shown(ARITHMETIC.sum(of('1', '2.0'), call))).toBe('3')
    expect(shown(ARITHMETIC.sum([[]], call))).toBe('0')
    expect(shown(ARITHMETIC.product([[]], call))).toBe('1')
  })

  test('what has no answer is undefined, and what would fill the memory ends the evaluation', () => {
    for (const [name, args] of [
      ['div', ['1', '0.0']],
      ['div', ['1', '0']],
      ['rem', ['1', '0']],
      ['rem', ['5', '1.5']],
    ] as const)
      expect(() => ARITHMETIC[name](args.map(num), call), `${name} ${args}`).toThrow(OperandError)
    expect(() => ARITHMETIC.plus([num('1'), 'x'], call)).toThrow(OperandError)
    expect(() => ARITHMETIC.sum([[num('1'), null]], call)).toThrow(OperandError)
    expect(() => ARITHMETIC.plus([num('1e99999999'), num('1')], call)).toThrow('digits')
    expect(() => ARITHMETIC.mul([num('1e-99999999'), num('0.5')], call)).toThrow('digits')
  })
})
