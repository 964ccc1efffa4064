import { OperandError } from './value.ts'

const UNITS: Record<string, bigint> = {
  ns: 1n,
  us: 1_000n,
  '\u00b5s': 1_000n,
  '\u03bcs': 1_000n,
  ms: 1_000_000n,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
}
const HALF = 1n << 63n

/** Go's `time.ParseDuration`, in nanoseconds. */
export function parseDuration(of: string): bigint {
  const bad = () => new OperandError('invalid duration')
  const negative = of.startsWith('-')
  let left = of.replace(/^[-+]/, '')
  if (left === '0') return 0n
  if (left === '') throw bad()
  let total = 0n
  while (left !== '') {
    const found = /^(\d*)(?:\.(\d*))?([^.\d]+)/.exec(left)
    const [all = '', before = '', after = '', name = ''] = found ?? []
    const unit = Object.hasOwn(UNITS, name) ? (UNITS[name] as bigint) : undefined
    if (!found || before + after === '' || unit === undefined) throw bad()
    left = left.slice(all.length)
    if (before.length > 30) throw bad()
    let value = BigInt(before === '' ? '0' : before)
    if (value > HALF / unit) throw bad()
    value *= unit
    // Digits that 64 bits do not hold are left out, as Go does.
    let digits = 0n
    let scale = 1
    for (const c of after) {
      if (digits > (HALF - 1n) / 10n) break
      const next = digits * 10n + BigInt(c)
      if (next > HALF) break
      digits = next
      scale *= 10
    }
    if (digits > 0n) value += BigInt(Math.trunc(Number(digits) * (Number(unit) / scale)))
    total += value
    if (value > HALF || total > HALF) throw bad()
  }
  if (!negative && total > HALF - 1n) throw bad()
  return negative ? -total : total
}
