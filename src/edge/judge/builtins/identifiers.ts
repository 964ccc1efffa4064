import { type Builtin, text } from './operand.ts'
import { Num, OperandError, RegoObject, Unanswerable, type Value } from './value.ts'

type Version = { numbers: bigint[]; pre: string }
const NAMES = /^[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*$/

/** SemVer 2.0.0, with the `v` that OPA takes before it. */
function versionOf(of: string): Version | undefined {
  const plus = of.indexOf('+')
  const [core, meta] = plus < 0 ? [of, undefined] : [of.slice(0, plus), of.slice(plus + 1)]
  if (meta !== undefined && !NAMES.test(meta)) return undefined
  const bare = core.replace(/^v/, '')
  const dash = bare.indexOf('-')
  const [digits, pre] = dash < 0 ? [bare, undefined] : [bare.slice(0, dash), bare.slice(dash + 1)]
  if (pre !== undefined && (!NAMES.test(pre) || pre.split('.').some((part) => /^0\d+$/.test(part))))
    return undefined
  const parts = digits.split('.')
  if (parts.length !== 3 || !parts.every((part) => /^(0|[1-9]\d*)$/.test(part))) return undefined
  const numbers = parts.map(BigInt)
  return numbers.every((number) => number < 1n << 63n) ? { numbers, pre: pre ?? '' } : undefined
}

const LARGEST = (1n << 63n) - 1n

const comparePre = (a: string, b: string): number => {
  if (a === b) return 0
  if (a === '' || b === '') return a === '' ? 1 : -1
  const [left, right] = [a.split('.'), b.split('.')]
  for (let i = 0; i < left.length && i < right.length; i++) {
    const [x, y] = [left[i] as string, right[i] as string]
    const [xWhole, yWhole] = [/^\d+$/.test(x), /^\d+$/.test(y)]
    if (xWhole !== yWhole) return xWhole ? -1 : 1
    if (xWhole) {
      const [m, n] = [BigInt(x), BigInt(y)]
      if (m > LARGEST && n > LARGEST) throw new Unanswerable('semver.compare: numbers of more than 64 bits')
      if (m !== n) return m < n ? -1 : 1
    } else if (x !== y) return x < y ? -1 : 1
  }
  return Math.sign(left.length - right.length)
}

const compareVersions: Builtin = ([a, b]) => {
  const [left, right] = [versionOf(text(a)), versionOf(text(b))]
  if (!left || !right) throw new OperandError('not a valid SemVer')
  for (const [i, number] of left.numbers.entries()) {
    const other = right.numbers[i] as bigint
    if (number !== other) return new Num(number < other ? -1 : 1)
  }
  return new Num(comparePre(left.pre, right.pre))
}

const UUID = /^([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})/i

/** RFC 4122 in the spellings that google/uuid takes. */
const parseUuid: Builtin = ([value]) => {
  const of = text(value)
  let hex: string | undefined
  if (of.length === 32 && /^[0-9a-f]{32}$/i.test(of)) hex = of
  else if (/^[\0-\x7f]*$/.test(of)) {
    const inner =
      of.length === 36
        ? of
        : of.length === 45 && /^urn:uuid:/i.test(of)
          ? of.slice(9)
          : of.length === 38
            ? of.slice(1)
            : ''
    hex = UUID.exec(inner)?.slice(1).join('')
  }
  if (hex === undefined) throw new OperandError('not a UUID')
  const bytes = Buffer.from(hex, 'hex')
  const version = (bytes[6] as number) >> 4
  const found: [string, Value][] = [
    ['version', new Num(version)],
    ['variant', variantOf(bytes[8] as number)],
  ]
  if (version === 1 || version === 2) {
    const node = [...bytes.subarray(10)].map((byte) => byte.toString(16).padStart(2, '0'))
    found.push(
      ['time', new Num(nanosecondsOf(bytes))],
      ['nodeid', node.join('-')],
      ['macvariables', macOf(bytes[10] as number)],
      ['clocksequence', new Num(bytes.readUInt16BE(8) & 0x3fff)],
    )
  }
  if (version === 2) {
    const domain = bytes[9] as number
    found.push(
      ['id', new Num(bytes.readUInt32BE(0))],
      ['domain', ['Person', 'Group', 'Org'][domain] ?? `Domain${domain}`],
    )
  }
  return new RegoObject(found)
}

const variantOf = (byte: number): string => {
  if ((byte & 0xc0) === 0x80) return 'RFC4122'
  if ((byte & 0xe0) === 0xc0) return 'Microsoft'
  return (byte & 0xe0) === 0xe0 ? 'Future' : 'Reserved'
}

const macOf = (byte: number): string =>
  `${byte & 2 ? 'local' : 'global'}:${byte & 1 ? 'multicast' : 'unicast'}`

/** Of 100 nanoseconds since 15 October 1582; what 64 bits do not hold wraps, as in Go. */
function nanosecondsOf(bytes: Buffer): bigint {
  const ticks =
    BigInt(bytes.readUInt32BE(0)) |
    (BigInt(bytes.readUInt16BE(4)) << 32n) |
    (BigInt(bytes.readUInt16BE(6) & 0xfff) << 48n)
  return BigInt.asIntN(64, (ticks - 122192928000000000n) * 100n)
}

export const IDENTIFIERS: Record<string, Builtin> = {
  'semver.compare': compareVersions,
  'semver.is_valid': ([value]) => typeof value === 'string' && versionOf(value) !== undefined,
  'uuid.parse': parseUuid,
}
