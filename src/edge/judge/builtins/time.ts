import {
  daysOf,
  localDays,
  type Moment,
  momentOf,
  nanosecondsOf,
  offsetAt,
  wallOf,
  weekdayOf,
} from './calendar.ts'
import { parseDuration } from './go-duration.ts'
import { formatFloat } from './go-float.ts'
import { formatTime, layoutOf } from './go-time.ts'
import { parseTime } from './go-time-parse.ts'
import { type Builtin, int, isArray, number, text } from './operand.ts'
import { Num, OperandError, Unanswerable, type Value, wholeOf } from './value.ts'

function nanoseconds(of: Value | undefined): bigint {
  const given = number(of)
  const whole = wholeOf(given)
  // OPA rounds to 64 binary digits first, which may make a whole number of a long fraction.
  if (whole === undefined && given.text.length > 18) throw new Unanswerable('a time with a long fraction')
  if (whole === undefined || whole !== BigInt.asIntN(64, whole)) throw new OperandError('timestamp too big')
  return whole
}

/** Nanoseconds, or `[ns, zone, layout]`. */
function momentFrom(of: Value | undefined): { moment: Moment; layout: string } {
  const [ns, zone, layout] = isArray(of) ? of : [of]
  const given = nanoseconds(ns)
  const name = zone === undefined ? 'UTC' : text(zone)
  const seconds = Number(
    (given - (((given % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n)) / 1_000_000_000n,
  )
  const nanos = Number(given - BigInt(seconds) * 1_000_000_000n)
  const shown = layout === undefined ? '' : text(layout)
  const moment = { seconds, nanos, zone: name === '' ? 'UTC' : name, offset: offsetAt(seconds, name) }
  return { moment, layout: shown }
}

const numbers = (...of: number[]): Value => of.map((one) => new Num(one))

const LARGEST = 1_000_000n

const addDate: Builtin = ([of, ...by]) => {
  const { moment } = momentFrom(of)
  const amounts = by.map(int)
  if (amounts.some((amount) => amount > LARGEST || amount < -LARGEST))
    throw new Unanswerable('time.add_date: more than a million')
  const [years = 0, months = 0, days = 0] = amounts.map(Number)
  const wall = wallOf(moment)
  const moved = { ...wall, year: wall.year + years, month: wall.month + months, day: wall.day + days }
  const utc = { ...momentOf(moved, moment.nanos, 'UTC') }
  // Far from now, no zone is asked for what cannot be said in nanoseconds anyway.
  if (Math.abs(utc.seconds) > 9_300_000_000) nanosecondsOf(utc)
  return new Num(nanosecondsOf(momentOf(moved, moment.nanos, moment.zone)))
}

const diff: Builtin = ([a, b]) => {
  let first = momentFrom(a).moment
  const given = momentFrom(b).moment
  let second: Moment = { ...given, zone: first.zone, offset: offsetAt(given.seconds, first.zone) }
  if (first.seconds > second.seconds || (first.seconds === second.seconds && first.nanos > second.nanos))
    [first, second] = [second, first]
  const [from, to] = [wallOf(first), wallOf(second)]
  let year = to.year - from.year
  let month = to.month - from.month
  let day = to.day - from.day
  let hour = to.hour - from.hour
  let minute = to.minute - from.minute
  let seconds = to.second - from.second
  if (seconds < 0) {
    seconds += 60
    minute--
  }
  if (minute < 0) {
    minute += 60
    hour--
  }
  if (hour < 0) {
    hour += 24
    day--
  }
  if (day < 0) {
    day += daysOf(from.year, from.month + 1, 1) - daysOf(from.year, from.month, 1)
    month--
  }
  if (month < 0) {
    month += 12
    year--
  }
  return numbers(year, month, day, hour, minute, seconds)
}

const HOURS: Record<string, number> = { d: 24, w: 7 * 24, y: 365 * 24 }

/** Go's durations, and days, weeks and years of 24 hours, 7 and 365 days. */
const duration: Builtin = ([value]) => {
  const of = text(value)
  if (!/[dwy]/.test(of)) return new Num(parseDuration(of))
  const whole = /^([-+]?)((?:[\d.]+(?:ms|us|\u00b5s|ns|[a-z]))+)$/.exec(of)
  if (!whole) throw new OperandError('invalid duration')
  const parts = [...(whole[2] as string).matchAll(/([\d.]+)(ms|us|\u00b5s|ns|[a-z])/g)]
  const rewritten = parts.map(([all, digits = '', unit = '']) => {
    const hours = Object.hasOwn(HOURS, unit) ? HOURS[unit] : undefined
    if (hours === undefined) return all
    if (!/^(\d+\.?\d*|\.\d+)$/.test(digits)) throw new OperandError('invalid duration')
    return `${formatFloat(Number(digits) * hours, 'f', -1)}h`
  })
  return new Num(parseDuration((whole[1] as string) + rewritten.join('')))
}

export const TIME: Record<string, Builtin> = {
  'time.add_date': addDate,
  'time.clock': ([of]) => {
    const { hour, minute, second } = wallOf(momentFrom(of).moment)
    return numbers(hour, minute, second)
  },
  'time.date': ([of]) => {
    const { year, month, day } = wallOf(momentFrom(of).moment)
    return numbers(year, month, day)
  },
  'time.diff': diff,
  'time.format': ([of]) => {
    const { moment, layout } = momentFrom(of)
    return formatTime(moment, layoutOf(layout === '' ? 'RFC3339Nano' : layout))
  },
  'time.now_ns': (_, { now }) => new Num(now()),
  'time.parse_duration_ns': duration,
  'time.parse_ns': ([layout, value]) =>
    new Num(nanosecondsOf(parseTime(layoutOf(text(layout)), text(value)))),
  'time.parse_rfc3339_ns': ([value]) => new Num(nanosecondsOf(parseTime(layoutOf('RFC3339'), text(value)))),
  'time.weekday': ([of]) => weekdayOf(localDays(momentFrom(of).moment)),
}
