import { isNewer } from './unicode.ts'

const PRINTABLE = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$/u
export const isPrintable = (of: string): boolean => PRINTABLE.test(of) && !isNewer(of)
const ESCAPES: Record<string, string> = {
  '\x07': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
  '\\': '\\\\',
}

/** `strconv.Quote` and its kin. */
export function quote(text: string, mark: '"' | "'", ascii: boolean): string {
  let out = mark as string
  for (const c of text) {
    const code = c.codePointAt(0) as number
    if (c === mark) out += `\\${c}`
    else if (ESCAPES[c] !== undefined) out += ESCAPES[c]
    else if (code < 0x80 ? code >= 0x20 && code !== 0x7f : !ascii && isPrintable(c)) out += c
    else if (code < 0x80) out += `\\x${code.toString(16).padStart(2, '0')}`
    else if (code < 0x10000) out += `\\u${code.toString(16).padStart(4, '0')}`
    else out += `\\U${code.toString(16).padStart(8, '0')}`
  }
  return out + mark
}
