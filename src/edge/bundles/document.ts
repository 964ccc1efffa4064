import { parseDocument } from 'yaml'
import { isObject, type JsonObject, parseStrict } from '../../mcp/strict-json.ts'
import { ARCHIVE_LIMITS } from './archive.ts'
import { BundleError } from './failure.ts'

const JSON_LIMITS = { bytes: ARCHIVE_LIMITS.bytes, depth: 128, keys: 20_000_000, string: 64 << 20 }
const YAML_BYTES = 16 << 20

/**
 * A document of a bundle, JSON or by its name YAML.
 * @throws BundleError for anything but one object that all readers read alike
 */
export function readDocument(
  name: string,
  file: string,
  bytes: Uint8Array | undefined,
): JsonObject | undefined {
  if (!bytes) return undefined
  const text = Buffer.from(bytes).toString('utf8')
  const no = (why: string) =>
    new BundleError('malformed', `bundle ${name}: ${file} is not a JSON object${why}`)
  if (!isYaml(file)) {
    const parsed = parseStrict(text, JSON_LIMITS)
    if (!parsed.ok) throw no(` (${parsed.fault})`)
    if (!isObject(parsed.value)) throw no('')
    return parsed.value
  }
  if (bytes.length > YAML_BYTES) throw no(`: YAML of more than ${YAML_BYTES} bytes`)
  // OPA reads YAML 1.1, where `no` is false; who writes it often means the word.
  const [old, now] = (['1.1', '1.2'] as const).map((version) => readYaml(text, version))
  if (old === undefined || now === undefined) throw no(' as YAML')
  if (old !== now)
    throw no(': YAML 1.1 and 1.2 read it differently (yes, no, on, off, octal numbers: put them into quotes)')
  const parsed = parseStrict(now, JSON_LIMITS)
  if (!parsed.ok) throw no(` (${parsed.fault})`)
  if (!isObject(parsed.value)) throw no('')
  return parsed.value
}

export const isYaml = (file: string): boolean => /\.ya?ml$/.test(file)

/** As JSON text; undefined if it is not one YAML document. */
function readYaml(text: string, version: '1.1' | '1.2'): string | undefined {
  try {
    const document = parseDocument(text, { version, uniqueKeys: true, stringKeys: true, merge: false })
    return document.errors.length > 0
      ? undefined
      : JSON.stringify(document.toJS({ maxAliasCount: 100 }) ?? {})
  } catch {
    return undefined
  }
}
