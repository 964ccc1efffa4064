import { daysOf, localDays, MONTHS, type Moment, wallOf, weekdayOf } from './calendar.ts'
import { Unanswerable } from './value.ts'

/** Go's layouts: the reference time Mon Jan 2 15:04:05 MST 2006, written as a time is to be read (Go's time, format.go). */
const CHUNK =
  /January|Jan(?![a-z])|Monday|Mon(?![a-z])|MST|0[1-6]|002|15|1|2006|2|_2(?!006)|__2|3|4|5|PM|pm|-070000|-07:00:00|-0700|-07:00|-07|Z070000|Z07:00:00|Z0700|Z07:00|Z07|[.,](?:0+|9+)(?!\d)/

const NAMED: Record<string, string> = {
  ANSIC: 'Mon Jan _2 15:04:05 2006',
  UnixDate: 'Mon Jan _2 15:04:05 MST 2006',
  RubyDate: 'Mon Jan 02 15:04:05 -0700 2006',
  RFC822: '02 Jan 06 15:04 MST',
  RFC822Z: '02 Jan 06 15:04 -0700',
  RFC850: 'Monday, 02-Jan-06 15:04:05 MST',
  RFC1123: 'Mon, 02 Jan 2006 15:04:05 MST',
  RFC1123Z: 'Mon, 02 Jan 2006 15:04:05 -0700',
  RFC3339: '2006-01-02T15:04:05Z07:00',
  RFC3339Nano: '2006-01-02T15:04:05.999999999Z07:00',
}
export const layoutOf = (name: string): string =>
  Object.hasOwn(NAMED, name) ? (NAMED[name] as string) : name

type Chunk = { prefix: string; part: string; rest: string }

/** The next part of a layout that stands for something of a time, with the text before it. */
export function nextChunk(layout: string): Chunk {
  const found = CHUNK.exec(layout)
  if (!found) return { prefix: layout, part: '', rest: '' }
  const end = found.index + found[0].length
  return { prefix: layout.slice(0, found.index), part: found[0], rest: layout.slice(end) }
}

const two = (of: number): string => String(of).padStart(2, '0')

/** Go's `time.Format`. */
export function formatTime(moment: Moment, layout: string): string {
  let out = ''
  let rest = layout
  while (rest !== '') {
    const chunk = nextChunk(rest)
    out += chunk.prefix
    if (chunk.part === '') break
    out += formatPart(moment, chunk.part)
    rest = chunk.rest
  }
  return out
}

function formatPart(moment: Moment, part: string): string {
  const { year, month, day, hour, minute, second } = wallOf(moment)
  const name = MONTHS[month - 1] as string
  const weekday = weekdayOf(localDays(moment))
  const yearDay = localDays(moment) - daysOf(year, 1, 1) + 1
  const hour12 = hour % 12 === 0 ? 12 : hour % 12
  switch (part) {
    case '06':
      return two(Math.abs(year) % 100)
    case '2006':
      return year < 0 ? `-${String(-year).padStart(4, '0')}` : String(year).padStart(4, '0')
    case 'January':
      return name
    case 'Jan':
      return name.slice(0, 3)
    case '1':
      return String(month)
    case '01':
      return two(month)
    case 'Monday':
      return weekday
    case 'Mon':
      return weekday.slice(0, 3)
    case '2':
      return String(day)
    case '_2':
      return String(day).padStart(2, ' ')
    case '02':
      return two(day)
    case '__2':
      return String(yearDay).padStart(3, ' ')
    case '002':
      return String(yearDay).padStart(3, '0')
    case '15':
      return two(hour)
    case '3':
      return String(hour12)
    case '03':
      return two(hour12)
    case '4':
      return String(minute)
    case '04':
      return two(minute)
    case '5':
      return String(second)
    case '05':
      return two(second)
    case 'PM':
      return hour >= 12 ? 'PM' : 'AM'
    case 'pm':
      return hour >= 12 ? 'pm' : 'am'
    case 'MST':
      if (moment.zone === 'UTC' || moment.zone === '') return 'UTC'
      throw new Unanswerable(`time.format: the abbreviation of ${moment.zone}`)
    default:
      return /^[.,]/.test(part) ? fraction(moment.nanos, part) : offsetText(moment.offset, part)
  }
}

function fraction(nanos: number, part: string): string {
  const trims = part[1] === '9'
  if (trims && nanos === 0) return ''
  const digits = String(nanos)
    .padStart(9, '0')
    .slice(0, part.length - 1)
  const shown = trims ? digits.replace(/0+$/, '') : digits
  return shown === '' ? '' : part[0] + shown
}

function offsetText(offset: number, part: string): string {
  if (offset === 0 && part[0] === 'Z') return 'Z'
  const minutes = Math.trunc(offset / 60)
  const size = Math.abs(minutes)
  const form = part.slice(1)
  const colon = form.includes(':') ? ':' : ''
  let out = `${minutes < 0 ? '-' : '+'}${two(Math.floor(size / 60))}`
  if (form.length > 2) out += colon + two(size % 60)
  if (form.length > 5) out += colon + two(Math.abs(offset) % 60)
  return out
}
