import { type Matcher, RE2JS } from 're2js'
import { globsMeet } from './globs.ts'
import { type Builtin, int, text } from './operand.ts'
import { strangeClass } from './regex-classes.ts'
import { isNewer } from './unicode.ts'
import { OperandError, Unanswerable, type Value } from './value.ts'

/** Compiled patterns: compiling is most of what a match of a short text costs. */
const MOST = 100
const compiled = new Map<string, { re: RE2JS; byClass: boolean }>()
/** Asks for classes of characters, or for letters in either case. */
const BY_CLASS = /\\[pP]|\(\?\w*i/

/**
 * Go's syntax in linear time; RE2JS is a port of Go's own `regexp`, with a Unicode of its own.
 * @param texts what it is to be applied to
 */
export function compile(pattern: string, ...texts: string[]): RE2JS {
  const { re, byClass } = compiled.get(pattern) ?? made(pattern)
  if (byClass && (isNewer(pattern) || texts.some(isNewer)))
    throw new Unanswerable('a pattern with classes of characters on those that Unicode has since 15.0')
  return re
}

function made(pattern: string): { re: RE2JS; byClass: boolean } {
  const strange = strangeClass(pattern)
  if (strange !== undefined) throw new Unanswerable(`the class of characters ${strange.slice(0, 40)}`)
  let re: RE2JS
  try {
    re = RE2JS.compile(pattern)
  } catch (error) {
    const why = error instanceof Error ? error.message : 'the pattern does not compile'
    // Go takes them.
    if (why.includes('duplicate')) throw new Unanswerable(why)
    throw new OperandError(why)
  }
  const found = { re, byClass: BY_CLASS.test(pattern) }
  if (compiled.size >= MOST) compiled.delete(compiled.keys().next().value as string)
  compiled.set(pattern, found)
  return found
}

type Match = { start: number; end: number; groups: (string | undefined)[] }

const groupsOf = (matcher: Matcher): (string | undefined)[] =>
  Array.from({ length: matcher.groupCount() + 1 }, (_, i) => matcher.group(i) ?? undefined)

/** Go's `FindAll`: an empty match right after another match is none. */
function matches(pattern: RE2JS, of: string, most: number): Match[] {
  const matcher = pattern.matcher(of)
  const found: Match[] = []
  let previous = -1
  for (let at = 0; found.length < most && at <= of.length && matcher.find(at); ) {
    const [start, end] = [matcher.start(), matcher.end()]
    const accepted = end !== at || start !== previous
    at = end === at ? end + ((of.codePointAt(end) ?? 0) > 0xffff ? 2 : 1) : end
    previous = end
    if (accepted) found.push({ start, end, groups: groupsOf(matcher) })
  }
  return found
}

const split: Builtin = ([pattern, value]) => {
  const of = text(value)
  const re = compile(text(pattern), of)
  if (text(pattern) !== '' && of === '') return ['']
  const parts: Value[] = []
  let [begin, end] = [0, 0]
  for (const match of matches(re, of, Number.POSITIVE_INFINITY)) {
    end = match.start
    if (match.end !== 0) parts.push(of.slice(begin, end))
    begin = match.end
  }
  if (end !== of.length) parts.push(of.slice(begin))
  return parts
}

/** `$1`, `${1}`, `${name}` and `$$` (Go's `Regexp.Expand`). */
function expand(template: string, match: Match, names: Record<string, number>): string {
  return template.replace(
    /\$(?:(\$)|\{([\p{L}\p{Nd}_]+)\}|([\p{L}\p{Nd}_]+))/gu,
    (_, dollar, braced, bare) => {
      if (dollar) return '$'
      const name: string = braced ?? bare
      if (/^(0|[1-9]\d{0,8})$/.test(name)) return match.groups[Number(name)] ?? ''
      return Object.hasOwn(names, name) ? (match.groups[names[name] as number] ?? '') : ''
    },
  )
}

const replace: Builtin = ([base, pattern, value]) => {
  const of = text(base)
  const template = text(value)
  const re = compile(text(pattern), of)
  const names = re.namedGroups()
  let out = ''
  let last = 0
  for (const match of matches(re, of, Number.POSITIVE_INFINITY)) {
    out += of.slice(last, match.start) + expand(template, match, names)
    last = match.end
  }
  return out + of.slice(last)
}

const findN: Builtin = ([pattern, value, count]) => {
  const n = int(count)
  const re = compile(text(pattern), text(value))
  const most = n < 0n ? Number.POSITIVE_INFINITY : Number(n)
  return matches(re, text(value), most).map(({ start, end }) => text(value).slice(start, end))
}

/** Patterns between delimiters in a text that is to be met literally (gorilla/mux, by way of OPA). */
const templateMatch: Builtin = ([template, value, from, to]) => {
  const [of, open, close] = [text(template), text(from), text(to)]
  if (Buffer.byteLength(open) !== 1 || Buffer.byteLength(close) !== 1)
    throw new OperandError('a delimiter has to be one character')
  let pattern = '^'
  let [level, start, end] = [0, 0, 0]
  const matched = text(value)
  for (let i = 0; i < of.length; i++) {
    if (of[i] === open) {
      if (++level === 1) start = i
    } else if (of[i] === close) {
      if (--level < 0) throw new OperandError('unbalanced braces')
      if (level > 0) continue
      const inner = of.slice(start + 1, i)
      compile(`^${inner}$`)
      pattern += `${quoteMeta(of.slice(end, start))}(${inner})`
      end = i + 1
    }
  }
  if (level !== 0) throw new OperandError('unbalanced braces')
  return compile(`${pattern}${quoteMeta(of.slice(end))}$`, matched).test(matched)
}

const quoteMeta = (of: string): string => of.replace(/[\\.+*?()|[\]{}^$]/g, '\\$&')

export const REGEX: Record<string, Builtin> = {
  'glob.quote_meta': ([value]) => text(value).replace(/[*?\\[\]{}]/g, '\\$&'),
  'regex.find_n': findN,
  'regex.globs_match': ([a, b]) => globsMeet(text(a), text(b)),
  'regex.replace': replace,
  'regex.split': split,
  'regex.template_match': templateMatch,
}

const isPattern: Builtin = ([pattern]) => {
  try {
    compile(text(pattern))
    return true
  } catch (error) {
    if (error instanceof OperandError) return false
    throw error
  }
}

const submatches: Builtin = ([pattern, value, count]) => {
  const n = int(count)
  const re = compile(text(pattern), text(value))
  const most = n < 0n ? Number.POSITIVE_INFINITY : Number(n)
  return matches(re, text(value), most).map(({ groups }) => groups.map((group) => group ?? ''))
}

/** Those that the module has of its own. */
export const NATIVE_REGEX = {
  'regex.find_all_string_submatch_n': submatches,
  'regex.is_valid': isPattern,
  'regex.match': ([pattern, value]) => compile(text(pattern), text(value)).test(text(value)),
} satisfies Record<string, Builtin>
