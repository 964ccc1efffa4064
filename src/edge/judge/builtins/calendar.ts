import { OperandError, Unanswerable } from './value.ts'

/** Seconds since the epoch and nanoseconds of the second, in a zone `offset` seconds east of Greenwich. */
export type Moment = { seconds: number; nanos: number; offset: number; zone: string }
export type Wall = { year: number; month: number; day: number; hour: number; minute: number; second: number }

export const DAY = 86_400

/** Days since the epoch of a day of the Gregorian calendar, months from 1; days may go beyond the month. */
export function daysOf(year: number, month: number, day: number): number {
  const months = month - 1
  const y = year + Math.floor(months / 12)
  const m = ((months % 12) + 12) % 12
  const shifted = m < 2 ? y - 1 : y
  const era = Math.floor(shifted / 400)
  const yearOfEra = shifted - era * 400
  const dayOfYear = Math.floor((153 * ((m + 10) % 12) + 2) / 5)
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear
  return era * 146_097 + dayOfEra - 719_468 + day - 1
}

export function dateOf(days: number): { year: number; month: number; day: number } {
  const z = days + 719_468
  const era = Math.floor(z / 146_097)
  const doe = z - era * 146_097
  const yoe = Math.floor(
    (doe - Math.floor(doe / 1460) + Math.floor(doe / 36_524) - Math.floor(doe / 146_096)) / 365,
  )
  const doy = doe - (365 * yoe + Math.floor(yoe / 4) - Math.floor(yoe / 100))
  const mp = Math.floor((5 * doy + 2) / 153)
  const month = mp < 10 ? mp + 3 : mp - 9
  return {
    year: yoe + era * 400 + (month <= 2 ? 1 : 0),
    month,
    day: doy - Math.floor((153 * mp + 2) / 5) + 1,
  }
}

export const daysIn = (year: number, month: number): number =>
  daysOf(year, month + 1, 1) - daysOf(year, month, 1)

export const localDays = ({ seconds, offset }: Moment): number => Math.floor((seconds + offset) / DAY)

export function wallOf(moment: Moment): Wall {
  const days = localDays(moment)
  const rest = moment.seconds + moment.offset - days * DAY
  return {
    ...dateOf(days),
    hour: Math.floor(rest / 3600),
    minute: Math.floor(rest / 60) % 60,
    second: rest % 60,
  }
}

/** What a wall clock shows in a zone, as a moment; Go's way through gaps and repeated hours (`time.Date`). */
export function momentOf(wall: Wall, nanos: number, zone: string): Moment {
  const local =
    daysOf(wall.year, wall.month, wall.day) * DAY + wall.hour * 3600 + wall.minute * 60 + wall.second
  const first = offsetAt(local, zone)
  const offset = first === 0 ? 0 : offsetAt(local - first, zone)
  const seconds = local - offset
  return { seconds, nanos, zone, offset: offsetAt(seconds, zone) }
}

const formats = new Map<string, Intl.DateTimeFormat>()

/** Names as they are in the time zone database; JavaScript takes other cases and offsets too, Go does not. */
const NAME = /^[A-Z][A-Za-z_]*(?:[+-]\d+)?[A-Z0-9]*(?:\/[A-Z][A-Za-z_+-]*\d*)*$/

function formatFor(zone: string): Intl.DateTimeFormat {
  const known = formats.get(zone)
  if (known) return known
  let made: Intl.DateTimeFormat
  try {
    if (!NAME.test(zone)) throw new RangeError(zone)
    made = new Intl.DateTimeFormat('en-US', {
      timeZone: zone,
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    })
  } catch {
    throw new Unanswerable(`a time zone that is not known here: ${JSON.stringify(zone).slice(0, 80)}`)
  }
  if (formats.size > 100) formats.clear()
  formats.set(zone, made)
  return made
}

/** Before it, zones had offsets of seconds and their data differ. */
const EARLIEST = Date.UTC(1970, 0, 1) / 1000

/** Seconds east of Greenwich. */
export function offsetAt(seconds: number, zone: string): number {
  if (zone === 'UTC' || zone === '') return 0
  if (zone === 'Local') throw new Unanswerable('the time zone of the host')
  const format = formatFor(zone)
  if (seconds < EARLIEST) throw new Unanswerable(`the offset of ${zone} before 1970`)
  const parts: Record<string, number> = {}
  for (const { type, value } of format.formatToParts(seconds * 1000)) parts[type] = Number(value)
  const { year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0 } = parts
  return daysOf(year, month, day) * DAY + hour * 3600 + minute * 60 + second - seconds
}

/** Nanoseconds since the epoch, if 64 bits hold them. */
export function nanosecondsOf({ seconds, nanos }: Moment): bigint {
  const found = BigInt(seconds) * 1_000_000_000n + BigInt(nanos)
  if (found !== BigInt.asIntN(64, found)) throw new OperandError('time outside of valid range')
  return found
}

export const MONTHS = [
  'January',
  'February',
  'March',
  'April',
  'May',
  'June',
  'July',
  'August',
  'September',
  'October',
  'November',
  'December',
]
export const WEEKDAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday']
export const weekdayOf = (days: number): string => WEEKDAYS[(((days + 4) % 7) + 7) % 7] as string
