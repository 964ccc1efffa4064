import { type Builtin, isArray, text } from './operand.ts'
import { compile } from './regex.ts'
import { OperandError, type Value } from './value.ts'

/** `glob.match`: the syntax of gobwas/glob 1.0, which OPA uses, as one regular expression. */

const wrong = (what: string): OperandError => new OperandError(`glob: ${what}`)

const ANY = '(?s:.)'
const code = (character: string): string => `\\x{${(character.codePointAt(0) as number).toString(16)}}`
const oneOf = (characters: readonly string[], not: boolean): string =>
  `[${not ? '^' : ''}${characters.map(code).join('')}]`

/** Characters up to one of `ends` that is not escaped. */
function literal(pattern: readonly string[], from: number, ends: string): { found: string[]; at: number } {
  const found: string[] = []
  let at = from
  for (; at < pattern.length && !ends.includes(pattern[at] as string); at++) {
    if (pattern[at] === '\\' && ++at === pattern.length) throw wrong('trailing backslash')
    found.push(pattern[at] as string)
  }
  return { found, at }
}

/** What follows a `[`: a range of two characters, or some, never both. */
function characterClass(pattern: readonly string[], from: number): { source: string; at: number } {
  const not = pattern[from] === '!'
  const first = not ? from + 1 : from
  const [low, between, high] = pattern.slice(first, first + 3)
  if (low !== undefined && between === '-') {
    if (high === undefined || pattern[first + 3] !== ']') throw wrong('a range that is not closed')
    if ((high.codePointAt(0) as number) < (low.codePointAt(0) as number)) throw wrong('a range out of order')
    return { source: `[${not ? '^' : ''}${code(low)}-${code(high)}]`, at: first + 4 }
  }
  const { found, at } = literal(pattern, first, ']')
  if (found.length === 0 || pattern[at] !== ']') throw wrong('a class that is empty or not closed')
  return { source: oneOf(found, not), at: at + 1 }
}

function translated(of: string, separators: readonly string[]): string {
  const pattern = [...of]
  const single = separators.length === 0 ? ANY : oneOf(separators, true)
  let source = ''
  let depth = 0
  for (let at = 0; at < pattern.length; ) {
    const c = pattern[at] as string
    if (c === '[') {
      const found = characterClass(pattern, at + 1)
      source += found.source
      at = found.at
      continue
    }
    const twice = c === '*' && pattern[at + 1] === '*'
    if (c === '*') source += twice ? `${ANY}*` : `${single}*`
    else if (c === '?') source += single
    else if (c === '{') {
      source += '(?:'
      depth++
    } else if (depth > 0 && c === ',') source += '|'
    else if (depth > 0 && c === '}') {
      source += ')'
      depth--
    } else {
      const { found, at: after } = literal(pattern, at, depth > 0 ? '?*[{},' : '?*[{')
      source += found.map(code).join('')
      at = after
      continue
    }
    at += twice ? 2 : 1
  }
  if (depth > 0) throw wrong('a brace that is not closed')
  return source
}

/** An empty list of separators is a dot; `null` is none. */
function separatorsOf(value: Value | undefined): string[] {
  if (value === null) return []
  if (!isArray(value)) throw new OperandError('must be an array or null')
  const found = value.map(text)
  if (found.some((of) => [...of].length !== 1)) throw new OperandError('must be an array of characters')
  return found.length === 0 ? ['.'] : found
}

const MOST = 100
const known = new Map<string, string>()

export const globMatch: Builtin = ([pattern, delimiters, value]) => {
  const [of, matched] = [text(pattern), text(value)]
  const separators = separatorsOf(delimiters)
  const key = `${separators.join('')}\0${separators.length}\0${of}`
  let source = known.get(key)
  if (source === undefined) {
    source = translated(of, separators)
    if (known.size >= MOST) known.delete(known.keys().next().value as string)
    known.set(key, source)
  }
  return compile(`^(?:${source})$`).test(matched)
}
