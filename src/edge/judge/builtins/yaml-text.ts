import { marshal } from './encoding.ts'
import { formatFloat } from './go-float.ts'
import { Num, RegoObject, RegoSet, Unanswerable, type Value } from './value.ts'

/**
 * `yaml.marshal`: the layout of go.yaml.in/yaml 3 at two columns, for the texts of which it is known how it writes
 * them. The rest ends the evaluation.
 */

/** A letter, then what is plain anywhere; a space or colon only before such. */
const PLAIN = /^[A-Za-z](?:[\w./@+-]|[ :](?=[\w./@+-]))*$/
/** What YAML 1.1 or 1.2 would read as something else than a text. */
const QUOTED =
  /^(?:y|Y|yes|Yes|YES|on|On|ON|n|N|no|No|NO|off|Off|OFF|true|True|TRUE|false|False|FALSE|null|Null|NULL|0|[1-9]\d{0,15})$/

const unsure = (what: string): Unanswerable => new Unanswerable(`yaml.marshal: ${what.slice(0, 40)}`)

function scalar(value: null | boolean | string | Num): string {
  if (value instanceof Num) {
    if (value.text === '-0') return '0'
    if (/^-?(?:0|[1-9]\d{0,17})$/.test(value.text)) return value.text
    const float = Number(value.text)
    if (!Number.isFinite(float) || !/[.eE]/.test(value.text)) throw unsure(value.text)
    return formatFloat(float, 'g', -1)
  }
  if (typeof value !== 'string') return String(value)
  if (value === '' || QUOTED.test(value)) return `"${value}"`
  if (!PLAIN.test(value)) throw unsure(JSON.stringify(value))
  return value
}

const isDigit = (c: string | undefined): boolean => c !== undefined && c >= '0' && c <= '9'
const isLetter = (c: string): boolean => /[A-Za-z]/.test(c)

/** Keys in the order of people: numbers in them by their size. All are of ASCII. */
function before(a: string, b: string): boolean {
  let digits = false
  for (let i = 0; i < a.length && i < b.length; i++) {
    const [x, y] = [a[i] as string, b[i] as string]
    if (x === y) {
      digits = isDigit(x)
      continue
    }
    const [left, right] = [isLetter(x), isLetter(y)]
    if (left && right) return x < y
    if (left || right) return digits ? left : right
    let lead = 0n
    if (x === '0' || y === '0') for (let j = i - 1; j >= 0 && isDigit(a[j]); j--) if (a[j] !== '0') lead = 1n
    const number = (of: string) => /^\d*/.exec(of.slice(i))?.[0] ?? ''
    const [m, n] = [number(a), number(b)]
    const size = (of: string) => BigInt(`${lead}${of}`)
    if (size(m) !== size(n)) return size(m) < size(n)
    return m.length === n.length ? x < y : m.length < n.length
  }
  return a.length < b.length
}

/** A value on the line of its key, or on lines of its own. */
type Written = { inline: string } | { lines: string[] }

const indented = (lines: string[]): string[] => lines.map((line) => `  ${line}`)

function written(value: Value): Written {
  if (value instanceof RegoSet || Array.isArray(value)) {
    const items: readonly Value[] = value instanceof RegoSet ? value.items : value
    if (items.length === 0) return { inline: '[]' }
    return {
      lines: items.flatMap((item) => {
        const of = written(item)
        if ('inline' in of) return [`- ${of.inline}`]
        const [first, ...rest] = of.lines
        return [`- ${first}`, ...indented(rest)]
      }),
    }
  }
  if (!(value instanceof RegoObject)) return { inline: scalar(value as null | boolean | string | Num) }
  const entries = new Map(
    value.entries.map(([key, of]) => [typeof key === 'string' ? key : marshal(key), of]),
  )
  if (entries.size === 0) return { inline: '{}' }
  const keys = [...entries.keys()]
  // Before they are sorted: only what is of ASCII is.
  const names = new Map(keys.map((key) => [key, scalar(key)]))
  keys.sort((a, b) => (before(a, b) ? -1 : before(b, a) ? 1 : 0))
  return {
    lines: keys.flatMap((key) => {
      const of = written(entries.get(key) as Value)
      return 'inline' in of
        ? [`${names.get(key)}: ${of.inline}`]
        : [`${names.get(key)}:`, ...indented(of.lines)]
    }),
  }
}

export function yamlText(value: Value): string {
  const of = written(value)
  return `${'inline' in of ? of.inline : of.lines.join('\n')}\n`
}
