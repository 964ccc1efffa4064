import { textOf } from './encoding.ts'
import { type Builtin, object, text } from './operand.ts'

/**
 * Go's `strings.NewReplacer`: of the pairs that fit at a place the first one is taken, and the empty text fits between
 * any two bytes.
 */
function replaced(of: string, pairs: readonly (readonly [string, string])[], name: string): string {
  const source = Buffer.from(of, 'utf8')
  const keys = pairs.map(([key, value]) => ({
    key: Buffer.from(key, 'utf8'),
    value: Buffer.from(value, 'utf8'),
  }))
  const parts: Buffer[] = []
  let last = 0
  let afterEmpty = false
  for (let at = 0; at <= source.length; ) {
    const found = keys.find(
      ({ key }) => (key.length > 0 || !afterEmpty) && source.subarray(at, at + key.length).equals(key),
    )
    afterEmpty = found?.key.length === 0
    if (!found) {
      at++
      continue
    }
    parts.push(source.subarray(last, at), found.value)
    at += found.key.length
    last = at
  }
  return textOf(Buffer.concat([...parts, source.subarray(last)]), name)
}

const replaceN: Builtin = ([patterns, value]) => {
  const pairs = object(patterns).entries.map(([key, of]) => [text(key), text(of)] as const)
  return replaced(text(value), pairs, 'strings.replace_n')
}

export const REPLACERS = {
  replace: ([value, from, to]) => replaced(text(value), [[text(from), text(to)]], 'replace'),
  'strings.replace_n': replaceN,
} satisfies Record<string, Builtin>
