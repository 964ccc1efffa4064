import { OperandError, Unanswerable } from './value.ts'

/**
 * Whether two globs of characters, `.`, sets and the flags `+` and `*` have a text in common, by the rules of
 * yashtewari/glob-intersection, which OPA uses: not in every case what the globs say.
 */
type Token = { kind: 'character' | 'dot' | 'set'; runes: Set<string>; flag: '' | '+' | '*' }

const LARGEST_RANGE = 70_000

const wrong = (what: string): OperandError => new OperandError(what)

function tokens(of: string): Token[] {
  const input = [...of]
  const found: Token[] = []
  let at = 0
  const next = (): { rune: string; escaped: boolean } => {
    if (at >= input.length) throw wrong('the input ends too early')
    const rune = input[at++] as string
    if (rune !== '\\') return { rune, escaped: false }
    if (at >= input.length) throw wrong('input ends with an escape')
    return { rune: input[at++] as string, escaped: true }
  }
  const set = (): Set<string> => {
    const runes = new Set<string>()
    let previous: string | undefined
    for (;;) {
      const { rune, escaped } = next()
      if (!escaped && rune === ']') return runes
      if (escaped || rune !== '-') {
        runes.add(rune)
        previous = rune
        continue
      }
      if (previous === undefined || at >= input.length - 1) throw wrong('a range without an end')
      const until = next()
      if (!until.escaped && (until.rune === ']' || until.rune === '-')) throw wrong('a range without an end')
      const [first, last] = [previous.codePointAt(0) as number, until.rune.codePointAt(0) as number]
      if (last < first) throw wrong('a range out of order')
      if (last - first > LARGEST_RANGE)
        throw new Unanswerable('regex.globs_match: a range of too many characters')
      for (let code = first; code <= last; code++) runes.add(String.fromCodePoint(code))
      previous = undefined
    }
  }
  while (at < input.length) {
    const { rune, escaped } = next()
    if (!escaped && (rune === ']' || rune === '+' || rune === '*')) throw wrong(`${rune} out of place`)
    let token: Token
    if (!escaped && rune === '.') token = { kind: 'dot', runes: new Set(), flag: '' }
    else if (!escaped && rune === '[') token = { kind: 'set', runes: set(), flag: '' }
    else token = { kind: 'character', runes: new Set([rune]), flag: '' }
    const flag = input[at]
    if (flag === '+' || flag === '*') {
      token.flag = flag
      at++
    } else if (flag === '\\' && at === input.length - 1) throw wrong('input ends with an escape')
    found.push(token)
  }
  return simplified(found)
}

const same = (a: Token, b: Token): boolean =>
  a.kind === b.kind && a.runes.size === b.runes.size && [...a.runes].every((rune) => b.runes.has(rune))

/** Two flagged tokens of one content, one after the other, are one. */
function simplified(given: Token[]): Token[] {
  const kept: Token[] = []
  for (const token of given) {
    const last = kept.at(-1)
    if (last && last.flag !== '' && token.flag !== '' && same(last, token)) {
      if (token.flag === '+') last.flag = '+'
    } else kept.push(token)
  }
  return kept
}

const match = (a: Token, b: Token): boolean =>
  a.kind === 'dot' || b.kind === 'dot' || [...a.runes].some((rune) => b.runes.has(rune))

type Trimmed = { left: Token[]; right: Token[] }

/** Without what is plain at both ends and matches; undefined where it does not match. */
function trimmed(a: Token[], b: Token[]): Trimmed | undefined {
  let from = 0
  const plain = (i: number, j: number) => a[i]?.flag === '' && b[j]?.flag === ''
  for (; from < a.length && from < b.length && plain(from, from); from++)
    if (!match(a[from] as Token, b[from] as Token)) return undefined
  if (from > 0) from--
  let [i, j] = [a.length - 1, b.length - 1]
  for (; i >= from && j >= from && plain(i, j); i--, j--)
    if (!match(a[i] as Token, b[j] as Token)) return undefined
  if (i < a.length - 1) {
    i++
    j++
  }
  return { left: a.slice(from, i + 1), right: b.slice(from, j + 1) }
}

export function globsMeet(one: string, other: string): boolean {
  const globs = trimmed(tokens(one), tokens(other))
  if (!globs) return false
  const { left, right } = globs
  const known = new Map<string, boolean>()
  const once = (key: string, answer: () => boolean): boolean => {
    const there = known.get(key)
    if (there !== undefined) return there
    const found = answer()
    known.set(key, found)
    return found
  }
  // `swapped` says that the first of the two is the right one; `i` is a place in the first, `j` in the second.
  const pair = (swapped: boolean): [Token[], Token[]] => (swapped ? [right, left] : [left, right])
  const normal = (swapped: boolean, i: number, j: number): boolean =>
    once(`n${swapped}${i},${j}`, () => {
      const [a, b] = pair(swapped)
      let [x, y] = [i, j]
      for (; x < a.length && y < b.length; x++, y++) {
        const [first, second] = [a[x] as Token, b[y] as Token]
        if (first.flag === '' && second.flag === '') {
          if (!match(first, second)) return false
        } else return first.flag !== '' ? special(swapped, x, y) : special(!swapped, y, x)
      }
      return x === a.length && y === b.length
    })
  const special = (swapped: boolean, i: number, j: number): boolean => {
    const [a, b] = pair(swapped)
    const [first, second] = [a[i] as Token, b[j] as Token]
    if (first.flag === '*') return star(swapped, i, j)
    if (!match(first, second)) return false
    return star(swapped, i, j + 1) || (second.flag !== '' && normal(swapped, i + 1, j))
  }
  const star = (swapped: boolean, i: number, j: number): boolean =>
    once(`s${swapped}${i},${j}`, () => {
      const [a, b] = pair(swapped)
      const [starred, next] = [a[i] as Token, a[i + 1]]
      for (let at = j; at < b.length; at++) {
        const token = b[at] as Token
        if (next && match(token, next) && normal(swapped, i + 1, at)) return true
        if (!match(token, starred)) return false
      }
      return next === undefined
    })
  return normal(false, 0, 0)
}
