import { daysIn, daysOf, MONTHS, type Moment, momentOf, WEEKDAYS } from './calendar.ts'
import { nextChunk } from './go-time.ts'
import { OperandError } from './value.ts'

const wrong = (): OperandError => new OperandError('the time is not of this layout')

/** Go's `time.Parse`, where no zone is given in UTC. */
export function parseTime(layout: string, value: string): Moment {
  const reader = new Reader(value)
  for (let rest = layout; ; ) {
    const chunk = nextChunk(rest)
    reader.literal(chunk.prefix)
    if (chunk.part === '') break
    rest = chunk.rest
    reader.part(chunk.part, rest)
  }
  return reader.moment()
}

const atoi = (of: string): number => {
  if (!/^[+-]?\d{0,15}$/.test(of)) throw wrong()
  return Number(of === '' || of === '+' || of === '-' ? '0' : of)
}

class Reader {
  #left: string
  #year = 0
  #month = -1
  #day = -1
  #yearDay = -1
  #hour = 0
  #minute = 0
  #second = 0
  #nanos = 0
  #half: 'am' | 'pm' | undefined
  #utc = false
  #offset: number | undefined

  constructor(value: string) {
    this.#left = value
  }

  literal(prefix: string): void {
    let wanted = prefix
    while (wanted !== '') {
      if (wanted[0] === ' ') {
        if (this.#left !== '' && this.#left[0] !== ' ') throw wrong()
        wanted = wanted.replace(/^ +/, '')
        this.#left = this.#left.replace(/^ +/, '')
        continue
      }
      if (this.#left[0] !== wanted[0]) throw wrong()
      wanted = wanted.slice(1)
      this.#left = this.#left.slice(1)
    }
  }

  part(part: string, rest: string): void {
    switch (part) {
      case '06': {
        const year = atoi(this.#take(2))
        this.#year = year >= 69 ? year + 1900 : year + 2000
        break
      }
      case '2006':
        if (!/^\d/.test(this.#left)) throw wrong()
        this.#year = atoi(this.#take(4))
        break
      case 'Jan':
      case 'January':
        this.#month = this.#name(MONTHS, part === 'Jan') + 1
        break
      case '1':
      case '01':
        this.#month = this.#number(part === '01', 1, 12)
        break
      case 'Mon':
      case 'Monday':
        this.#name(WEEKDAYS, part === 'Mon')
        break
      case '2':
      case '_2':
      case '02':
        if (part === '_2') this.#left = this.#left.replace(/^ /, '')
        this.#day = this.#number(part === '02', 0, 99)
        break
      case '__2':
      case '002': {
        if (part === '__2') this.#left = this.#left.replace(/^ {1,2}/, '')
        const digits = /^\d{1,3}/.exec(this.#left)?.[0] ?? ''
        if (digits === '' || (part === '002' && digits.length < 3)) throw wrong()
        this.#yearDay = Number(this.#take(digits.length))
        break
      }
      case '15':
        this.#hour = this.#number(false, 0, 23)
        break
      case '3':
      case '03':
        this.#hour = this.#number(part === '03', 0, 12)
        break
      case '4':
      case '04':
        this.#minute = this.#number(part === '04', 0, 59)
        break
      case '5':
      case '05': {
        this.#second = this.#number(part === '05', 0, 59)
        // A fraction that the layout does not have is read all the same.
        const digits = /^[.,]\d+/.exec(this.#left)?.[0]
        if (digits && !/^[.,]/.test(nextChunk(rest).part)) this.#fraction(digits.length)
        break
      }
      case 'PM':
      case 'pm': {
        const found = this.#take(2)
        const cased = part === 'PM' ? found.toLowerCase() : found
        if ((part === 'PM') !== /^[A-Z]+$/.test(found) || (cased !== 'am' && cased !== 'pm')) throw wrong()
        // Both may be set, and then it is the afternoon.
        if (this.#half !== 'pm') this.#half = cased
        break
      }
      case 'MST':
        this.#abbreviation()
        break
      default:
        if (/^[.,]0/.test(part)) this.#fraction(part.length)
        else if (/^[.,]9/.test(part)) {
          const digits = /^[.,]\d+/.exec(this.#left)?.[0]
          if (digits) this.#fraction(digits.length)
        } else this.#numericZone(part)
    }
  }

  moment(): Moment {
    if (this.#left !== '') throw wrong()
    let [month, day, hour] = [this.#month, this.#day, this.#hour]
    if (this.#half === 'pm' && hour < 12) hour += 12
    else if (this.#half === 'am' && hour === 12) hour = 0
    if (this.#yearDay >= 0) {
      if (this.#yearDay < 1 || this.#yearDay > daysOf(this.#year + 1, 1, 1) - daysOf(this.#year, 1, 1))
        throw wrong()
      let left = this.#yearDay
      let at = 1
      while (left > daysIn(this.#year, at)) left -= daysIn(this.#year, at++)
      if ((month >= 0 && month !== at) || (day >= 0 && day !== left)) throw wrong()
      ;[month, day] = [at, left]
    }
    if (month < 0) month = 1
    if (day < 0) day = 1
    if (day < 1 || day > daysIn(this.#year, month)) throw wrong()
    const wall = { year: this.#year, month, day, hour, minute: this.#minute, second: this.#second }
    const found = momentOf(wall, this.#nanos, 'UTC')
    if (this.#utc) return found
    // `-1` is Go's mark for no offset.
    if (this.#offset !== undefined && this.#offset !== -1)
      return { ...found, seconds: found.seconds - this.#offset }
    // An abbreviation names a zone and moves nothing, as long as the host's own zone is UTC.
    return found
  }

  #take(length: number): string {
    if (this.#left.length < length) throw wrong()
    const found = this.#left.slice(0, length)
    this.#left = this.#left.slice(length)
    return found
  }

  #number(fixed: boolean, least: number, most: number): number {
    const digits = /^\d{1,2}/.exec(this.#left)?.[0] ?? ''
    if (digits === '' || (fixed && digits.length < 2)) throw wrong()
    const found = Number(this.#take(digits.length))
    if (found < least || found > most) throw wrong()
    return found
  }

  #name(names: readonly string[], short: boolean): number {
    for (const [i, name] of names.entries()) {
      const wanted = short ? name.slice(0, 3) : name
      if (this.#left.slice(0, wanted.length).toLowerCase() !== wanted.toLowerCase()) continue
      this.#take(wanted.length)
      return i
    }
    throw wrong()
  }

  #fraction(length: number): void {
    const found = this.#take(length)
    if (!/^[.,]/.test(found)) throw wrong()
    const digits = found.slice(1, 10)
    const value = atoi(digits)
    if (value < 0) throw wrong()
    this.#nanos = value * 10 ** (9 - digits.length)
  }

  #numericZone(part: string): void {
    if (part[0] === 'Z' && this.#left[0] === 'Z') {
      this.#take(1)
      this.#utc = true
      return
    }
    const form = part.slice(1)
    const found = this.#take(part.length)
    const colons = [...form].every((c, i) => c !== ':' || found[i + 1] === ':')
    const digits = [...form].flatMap((c, i) => (c === ':' ? [] : [found[i + 1]])).join('')
    if (!colons || !/^[+-]/.test(found) || !/^\d+$/.test(digits)) throw wrong()
    const [hours = 0, minutes = 0, seconds = 0] = (digits.match(/\d\d/g) ?? []).map(Number)
    if (hours > 24 || minutes > 60 || seconds > 60) throw wrong()
    const size = hours * 3600 + minutes * 60 + seconds
    this.#offset = found[0] === '-' ? -size : size
  }

  #abbreviation(): void {
    if (this.#left.startsWith('UTC')) {
      this.#take(3)
      this.#utc = true
      return
    }
    const signed = (of: string) => {
      const digits = /^[+-](\d+)/.exec(of)
      return digits && Number(digits[1]) <= 23 ? digits[0] : ''
    }
    const left = this.#left
    let found = ''
    if (/^(ChST|MeST)/.test(left)) found = left.slice(0, 4)
    else if (left.startsWith('GMT')) found = `GMT${signed(left.slice(3))}`
    else if (/^[+-]/.test(left) && left.length >= 3) found = signed(left)
    else {
      const upper = /^[A-Z]{0,6}/.exec(left)?.[0] ?? ''
      if (upper.length === 3 || /^(....T|...T|WITA)$/.test(upper)) found = upper
    }
    if (found === '') throw wrong()
    this.#take(found.length)
  }
}
