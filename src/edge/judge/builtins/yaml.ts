import { createRequire } from 'node:module'
import type { Node } from 'yaml'
import { type Builtin, text } from './operand.ts'
import { Num, OperandError, RegoObject, Unanswerable, type Value } from './value.ts'
import { yamlText } from './yaml-text.ts'

/** Few policies ask for it, and it would take a fifth of the time in which a judging thread starts. */
let loaded: typeof import('yaml') | undefined
const library = (): typeof import('yaml') => {
  loaded ??= createRequire(import.meta.url)('yaml') as typeof import('yaml')
  return loaded
}

/**
 * YAML where go-yaml, which OPA reads it with, and this library cannot differ: mappings with plain keys, sequences,
 * quoted and block scalars, and plain scalars that are one thing in all versions of YAML.
 */
const unsure = (what: string): Unanswerable => new Unanswerable(`yaml: ${what}`)

const WHOLE = /^-?(0|[1-9]\d{0,17})$/
/** Letters first, and none of the words and numbers that some version of YAML knows. */
const WORD = /^[\p{L}_/$][^:#]*$/u
const KNOWN = /^(null|true|false|y|n|yes|no|on|off|nan|inf|[.].*|0.*)$/i

function plain(of: string): Value {
  if (of === '' || of === 'null' || of === '~') return null
  if (of === 'true' || of === 'false') return of === 'true'
  if (WHOLE.test(of)) return new Num(of)
  if (WORD.test(of) && !KNOWN.test(of)) return of
  throw unsure(`the plain scalar ${JSON.stringify(of).slice(0, 60)}`)
}

function nodeValue(node: Node | null | undefined): Value {
  if (node === null || node === undefined) return null
  const { isAlias, isMap, isScalar, isSeq, Scalar } = library()
  if (isAlias(node) || node.tag || ('anchor' in node && node.anchor))
    throw unsure('tags, anchors and aliases')
  if (isScalar(node)) {
    if (node.type === Scalar.PLAIN || node.type === undefined) return plain(node.source ?? '')
    if (typeof node.value !== 'string') throw unsure('a scalar of this kind')
    if (node.type !== Scalar.QUOTE_DOUBLE && node.type !== Scalar.QUOTE_SINGLE) throw unsure('a block scalar')
    if (/[\r\n]/.test(node.source ?? '')) throw unsure('a string of more lines')
    return node.value
  }
  if (isSeq(node)) return node.items.map((item) => nodeValue(item as Node))
  if (!isMap(node)) throw unsure('a node of this kind')
  return new RegoObject(
    node.items.map(({ key, value }) => {
      const name = nodeValue(key as Node)
      if (typeof name !== 'string' || name === '<<') throw unsure('a key that is no word')
      return [name, nodeValue(value as Node)] as const
    }),
  )
}

function read(of: string): Value {
  if (/[^\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\u{10000}-\u{10ffff}]/u.test(of))
    throw unsure('characters that are not printed')
  if (/^[ \n]*$/.test(of)) return null
  if (/^\s*(?:---|\.\.\.|%)/m.test(of)) throw unsure('marks of documents')
  const documents = library().parseAllDocuments(of, {
    version: '1.2',
    schema: 'core',
    keepSourceTokens: false,
  })
  const [first, ...rest] = Array.isArray(documents) ? documents : []
  if (!first || rest.length > 0 || first.warnings.length > 0) throw unsure('more than one document')
  if (first.errors.length > 0) throw unsure('what is no YAML here')
  return nodeValue(first.contents as Node | null)
}

const isValid: Builtin = ([value]) => {
  if (typeof value !== 'string') return false
  try {
    read(value)
    return true
  } catch (error) {
    if (error instanceof OperandError) return false
    throw error
  }
}

export const YAML: Record<string, Builtin> = {
  'yaml.is_valid': Object.assign(isValid, { prepare: library }),
  'yaml.marshal': ([value]) => yamlText(value as Value),
  'yaml.unmarshal': Object.assign(([value]: readonly Value[]) => read(text(value)), { prepare: library }),
}
