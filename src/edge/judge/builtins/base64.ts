import { textOf } from './encoding.ts'
import { type Builtin, text } from './operand.ts'
import { OperandError } from './value.ts'

/** Go's decoder: line breaks anywhere, padding in full, bits that are left over ignored. */
const PADDED = /^(?:[\w+/-]{4})*(?:[\w+/-]{2}==|[\w+/-]{3}=)?$/
const STANDARD = /^[A-Za-z0-9+/=]*$/
const URL_SAFE = /^[\w=-]*$/

function decoded(of: string, alphabet: RegExp): Buffer | undefined {
  const joined = of.replace(/[\r\n]/g, '')
  return alphabet.test(joined) && PADDED.test(joined) ? Buffer.from(joined, 'base64') : undefined
}

function needed(of: Buffer | undefined, name: string): string {
  if (!of) throw new OperandError('illegal base64')
  return textOf(of, name)
}

const decodeUrl: Builtin = ([value]) => {
  const of = text(value)
  // Padding that is left out is put in, by the length of what was given.
  const missing = of.endsWith('=') ? 0 : [0, undefined, 2, 1][Buffer.byteLength(of) % 4]
  if (missing === undefined) throw new OperandError('illegal base64url')
  return needed(decoded(of + '='.repeat(missing), URL_SAFE), 'base64url.decode')
}

export const BASE64 = {
  'base64.decode': ([value]) => needed(decoded(text(value), STANDARD), 'base64.decode'),
  'base64.is_valid': ([value]) => typeof value === 'string' && decoded(value, STANDARD) !== undefined,
  'base64url.decode': decodeUrl,
} satisfies Record<string, Builtin>
