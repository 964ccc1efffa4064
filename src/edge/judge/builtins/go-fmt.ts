import { type Argument, noFlags, print } from './go-print.ts'
import { quote } from './go-quote.ts'
import { toInt64 } from './operand.ts'
import { Num, RegoObject, RegoSet, type Value } from './value.ts'

/** Go gives up at a million; a width of that size would be a string of a megabyte. */
const TOO_LARGE = 1_000_000

export function argumentOf(value: Value): Argument {
  if (typeof value === 'string') return { type: 'string', value }
  if (!(value instanceof Num)) return { type: 'string', value: termText(value) }
  if (/[.eE]/.test(value.text)) {
    const float = Number(value.text)
    return Number.isFinite(float) ? { type: 'float64', value: float } : { type: 'string', value: value.text }
  }
  const small = toInt64(value.text)
  return small === undefined
    ? { type: '*big.Int', value: BigInt(value.text) }
    : { type: 'int64', value: small }
}

/** A value in Rego's own spelling (`ast.Value.String`). */
export function termText(value: Value): string {
  if (typeof value === 'string') return quote(value, '"', false)
  if (value instanceof Num) return value.text
  if (value instanceof RegoSet)
    return value.items.length === 0 ? 'set()' : `{${value.items.map(termText).join(', ')}}`
  if (value instanceof RegoObject)
    return `{${value.entries.map(([key, inner]) => `${termText(key)}: ${termText(inner)}`).join(', ')}}`
  return Array.isArray(value) ? `[${value.map(termText).join(', ')}]` : String(value)
}

/** `fmt.Sprintf` for what OPA's `sprintf` gives it: which argument, flags and verb each `%` names (Go's fmt, print.go). */
export function goSprintf(format: string, args: readonly Argument[]): string {
  let out = ''
  let at = 0
  let next = 0
  let reordered = false
  let goodIndex = true
  let afterIndex = false
  const end = format.length

  const digits = (): number | undefined => {
    const from = at
    let found = 0
    while (at < end && isDigit(format[at] as string)) {
      if (found > TOO_LARGE) {
        at = end
        return undefined
      }
      found = found * 10 + Number(format[at++])
    }
    return at === from ? undefined : found
  }
  const index = () => {
    afterIndex = false
    if (format[at] !== '[') return
    reordered = true
    const close = format.indexOf(']', at + 1)
    if (end - at < 3 || close < 0) {
      goodIndex = false
      at++
      return
    }
    const inside = format.slice(at + 1, close)
    at = close + 1
    const wanted = /^\d{1,7}$/.test(inside) ? Number(inside) - 1 : -1
    const readable = /^\d{1,7}$/.test(inside)
    afterIndex = readable
    if (readable && wanted >= 0 && wanted < args.length) next = wanted
    else goodIndex = false
  }
  const star = (): number | undefined => {
    const arg = args[next]
    if (next < args.length) next++
    if (arg?.type !== 'int64' || arg.value > TOO_LARGE || arg.value < -TOO_LARGE) return undefined
    return Number(arg.value)
  }

  while (at < end) {
    goodIndex = true
    const percent = format.indexOf('%', at)
    if (percent < 0) {
      out += format.slice(at)
      break
    }
    out += format.slice(at, percent)
    at = percent + 1
    const flags = noFlags()
    let simple = false
    for (; at < end; at++) {
      const c = format[at] as string
      if (c === '#') flags.sharp = true
      else if (c === '0') flags.zero = true
      else if (c === '+') flags.plus = true
      else if (c === '-') flags.minus = true
      else if (c === ' ') flags.space = true
      else {
        simple = c >= 'a' && c <= 'z' && next < args.length
        break
      }
    }
    if (simple) {
      const verb = format[at++] as string
      out += print(args[next++] as Argument, verb, flags)
      continue
    }
    index()
    if (format[at] === '*') {
      at++
      flags.width = star()
      if (flags.width === undefined) out += '%!(BADWIDTH)'
      else if (flags.width < 0) {
        flags.width = -flags.width
        flags.minus = true
        flags.zero = false
      }
      afterIndex = false
    } else {
      flags.width = digits()
      if (afterIndex && flags.width !== undefined) goodIndex = false
    }
    if (at + 1 < end && format[at] === '.') {
      at++
      if (afterIndex) goodIndex = false
      index()
      if (format[at] === '*') {
        at++
        const wanted = star()
        flags.precision = wanted !== undefined && wanted >= 0 ? wanted : undefined
        if (flags.precision === undefined) out += '%!(BADPREC)'
        afterIndex = false
      } else flags.precision = digits() ?? 0
    }
    if (!afterIndex) index()
    if (at >= end) {
      out += '%!(NOVERB)'
      break
    }
    const verb = String.fromCodePoint(format.codePointAt(at) as number)
    at += verb.length
    if (verb === '%') out += '%'
    else if (!goodIndex) out += `%!${verb}(BADINDEX)`
    else if (next >= args.length) out += `%!${verb}(MISSING)`
    else out += print(args[next++] as Argument, verb, flags)
  }
  if (!reordered && next < args.length) {
    const rest = args.slice(next).map((arg) => `${arg.type}=${print(arg, 'v', noFlags())}`)
    out += `%!(EXTRA ${rest.join(', ')})`
  }
  return out
}

const isDigit = (c: string): boolean => c >= '0' && c <= '9'
