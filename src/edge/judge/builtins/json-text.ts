import { Num, OperandError, RegoObject, Unanswerable, type Value } from './value.ts'

/** JSON text as OPA reads it (`json.unmarshal`): numbers keep their text, the last of two equal keys stays. */
export function readJson(text: string): Value {
  const wrong = () => new OperandError('not JSON')
  try {
    JSON.parse(text)
  } catch {
    throw wrong()
  }
  let at = 0
  const skip = () => {
    while (' \t\n\r'.includes(text[at] ?? 'x')) at++
  }
  const string = (): string => {
    const from = at++
    while (text[at] !== '"') at += text[at] === '\\' ? 2 : 1
    at++
    // Half a pair of surrogates becomes the replacement character in Go.
    return (JSON.parse(text.slice(from, at)) as string).toWellFormed()
  }
  const list = (end: string, item: () => void) => {
    at++
    for (skip(); text[at] !== end; skip()) {
      if (text[at] === ',') at++
      item()
    }
    at++
  }
  const read = (): Value => {
    skip()
    const c = text[at] as string
    if (c === '"') return string()
    if (c === '[') {
      const items: Value[] = []
      list(']', () => items.push(read()))
      return items
    }
    if (c === '{') {
      const entries: [Value, Value][] = []
      list('}', () => {
        skip()
        const key = string()
        skip()
        at++
        entries.push([key, read()])
      })
      return new RegoObject(entries)
    }
    const word = /[^\s,\]}]+/y
    word.lastIndex = at
    const [found = ''] = word.exec(text) ?? []
    at += found.length
    if (found === 'null') return null
    if (found === 'true' || found === 'false') return found === 'true'
    // OPA has a bound of its own, far out.
    if (/[eE][-+]?\d{5}/.test(found)) throw new Unanswerable('a number with an exponent of five digits')
    return new Num(found)
  }
  return read()
}
