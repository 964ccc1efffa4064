/**
 * The text of a document that OPA hashes when it signs (OPA v1/bundle/hash.go): keys in the order of their bytes, no
 * spaces, numbers as they were written, strings as Go writes them.
 * @throws SyntaxError if it is not JSON
 */
export function canonicalJson(text: string): string {
  // The third argument of a reviver has the number's own text, which a number has not.
  const value: unknown = JSON.parse(text, (_key, part: unknown, context?: { source?: string }) =>
    typeof part === 'number' ? { [NUMBER]: context?.source ?? String(part) } : part,
  )
  return write(value)
}

/** Marks a number as it was written; no key of a document is a symbol. */
const NUMBER = Symbol('number')

function write(value: unknown): string {
  if (typeof value === 'string') return quoted(value)
  if (Array.isArray(value)) return `[${value.map(write).join(',')}]`
  if (typeof value !== 'object' || value === null) return String(value)
  if (NUMBER in value) return String(value[NUMBER])
  const entries = Object.entries(value).map(
    ([key, part]) => [Buffer.from(key.toWellFormed()), key, part] as const,
  )
  entries.sort(([a], [b]) => Buffer.compare(a, b))
  return `{${entries.map(([, key, part]) => `${quoted(key)}:${write(part)}`).join(',')}}`
}

const quoted = (text: string): string =>
  JSON.stringify(text.toWellFormed()).replaceAll('\u2028', '\\u2028').replaceAll('\u2029', '\\u2029')
