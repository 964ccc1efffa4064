import { argumentOf, goSprintf } from './go-fmt.ts'
import { array, type Builtin, int, isArray, members, text } from './operand.ts'
import { Num, OperandError, RegoSet, type Value } from './value.ts'

const isAscii = (of: string): boolean => /^[\0-\x7f]*$/.test(of)

/** Where `search` begins, in characters, overlapping ones too. */
const indexesOf: Builtin = ([base, search]) => {
  const [haystack, needle] = [[...text(base)], [...text(search)]]
  if (needle.length === 0) throw new OperandError('empty search character')
  const found: Value[] = []
  const joined = text(base)
  if (isAscii(joined)) {
    for (let at = joined.indexOf(text(search)); at >= 0; at = joined.indexOf(text(search), at + 1))
      found.push(new Num(at))
    return found
  }
  for (let i = 0; i + needle.length <= haystack.length; i++)
    if (needle.every((c, j) => haystack[i + j] === c)) found.push(new Num(i))
  return found
}

/** `strings.Count`: of nothing, one more than there are characters. */
const count: Builtin = ([base, search]) => {
  const [haystack, needle] = [text(base), text(search)]
  return new Num(needle === '' ? [...haystack].length + 1 : haystack.split(needle).length - 1)
}

/** `strings.Split`: by nothing, into characters. */
export const split = (of: string, by: string): string[] => (by === '' ? [...of] : of.split(by))

const splitN: Builtin = ([of, by, count]) => {
  const n = int(count)
  const parts = split(text(of), text(by))
  if (n < 0n) return parts.slice(n < -BigInt(parts.length) ? 0 : parts.length + Number(n))
  return parts.slice(0, n > BigInt(parts.length) ? parts.length : Number(n))
}

const anyAffix =
  (match: (of: string, affix: string) => boolean): Builtin =>
  ([search, base]) => {
    const list = (value: Value | undefined): string[] => {
      if (typeof value === 'string') return [value]
      if (!isArray(value) && !(value instanceof RegoSet))
        throw new OperandError('must be string, set or array')
      return members(value).map(text)
    }
    const [of, affixes] = [list(search), list(base)]
    return of.some((one) => affixes.some((affix) => match(one, affix)))
  }

export const STRINGS: Record<string, Builtin> = {
  indexof_n: indexesOf,
  sprintf: ([format, args]) => goSprintf(text(format), array(args).map(argumentOf)),
  'strings.any_prefix_match': anyAffix((of, affix) => of.startsWith(affix)),
  'strings.any_suffix_match': anyAffix((of, affix) => of.endsWith(affix)),
  'strings.count': count,
  'strings.split_n': splitN,
  // Notes for `opa eval --explain`, which nothing reads here.
  trace: ([note]) => text(note) === note,
}
