import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isObject, type Json, type JsonObject, parseStrict } from '../../mcp/strict-json.ts'
import { complaintOf, type Opa, OpaError } from '../opa.ts'

const LIMITS = { bytes: 64 << 20, depth: 256, keys: 10_000_000, string: 16 << 20 }
/** Within a clause there may be another expression with clauses; each time the outer ones are put in order. */
const ROUNDS = 8

/**
 * Puts `with input` and `with data` before clauses that replace a function, which says the same. OPA 1.22 compiles the
 * other order wrongly: it takes the clauses of an expression by their place among all, not among those of documents
 * (`planWithRec` in its planner), so that the input of `with f as g with input as x` is never set.
 * @param functions paths of the functions of all modules, such as `data.lib.role`
 * @param name of the file, which is written over
 * @throws OpaError where a file does not parse, or cannot be put in order
 */
export async function orderMocks(opa: Opa, cwd: string, name: string, functions: Set<string>): Promise<void> {
  let text = await readFile(join(cwd, name), 'utf8')
  if (!mayMock(text, functions)) return
  for (let round = 0; round < ROUNDS; round++) {
    const { code, stdout, stderr } = await opa(
      ['parse', '--format', 'json', '--json-include', 'locations', name],
      cwd,
    )
    const parsed = parseStrict(stdout.trim() || 'null', LIMITS)
    if (code !== 0 || !parsed.ok || !isObject(parsed.value))
      throw new OpaError(`opa parse: ${complaintOf(stdout, stderr)}`)
    const module = parsed.value
    const isMock = mocksOf(module, functions)
    const wrong = outermost(expressions(module, isMock).map((clauses) => spansOf(text, clauses, name)))
    if (wrong.length === 0) return
    for (const spans of wrong.sort((a, b) => (b[0]?.start ?? 0) - (a[0]?.start ?? 0))) {
      const inOrder = [...spans.filter(({ mock }) => !mock), ...spans.filter(({ mock }) => mock)]
      const words = inOrder.map(({ start, end }) => text.slice(start, end))
      for (const [i, { start, end }] of [...spans.entries()].reverse())
        text = text.slice(0, start) + words[i] + text.slice(end)
    }
    await writeFile(join(cwd, name), text)
  }
  throw new OpaError(`${name}: write \`with input\` and \`with data\` before what replaces functions`)
}

/** Functions of a module, by a look at its text: heads begin a line, as `opa fmt` writes them. */
export function functionsOf(text: string): string[] {
  const name = /^package\s+([\w.]+)/m.exec(text)?.[1]
  return [...text.matchAll(/^(?:default\s+)?([A-Za-z_][\w.]*)\(/gm)].map(([, head]) => `data.${name}.${head}`)
}

/** Whether the text could replace a function at all: most files do not, and need no parser. */
const mayMock = (text: string, functions: Set<string>): boolean =>
  [...text.matchAll(/\bwith\s+([\w.]+)\S*\s+as\b/g)].some(
    ([, target = '']) => !/^(input|data)\b/.test(target) || functions.has(target),
  )

type Clause = { target: Json; value: Json; mock: boolean }
type Span = { start: number; end: number; mock: boolean }

function mocksOf(module: JsonObject, functions: Set<string>): (target: Json) => boolean {
  const own = pathOf(isObject(module.package ?? null) ? (module.package as JsonObject).path : undefined)
  const imports = new Map<string, string>()
  for (const { path, alias } of objects(module.imports)) {
    const to = pathOf(isObject(path ?? null) ? (path as JsonObject).value : undefined)
    imports.set(typeof alias === 'string' ? alias : (to.split('.').at(-1) ?? ''), to)
  }
  const rules = new Set(
    objects(module.rules).map(({ head }) => (isObject(head ?? null) ? (head as JsonObject).name : '')),
  )
  return (target) => {
    const path = pathOf(isObject(target) ? target.value : undefined)
    const [head = '', ...rest] = path.split('.')
    if (head === 'input') return false
    const from =
      head === 'data' ? head : (imports.get(head) ?? (rules.has(head) ? `${own}.${head}` : undefined))
    // What is nobody's is a builtin.
    return from === undefined || functions.has([from, ...rest].join('.'))
  }
}

const objects = (value: Json | undefined): JsonObject[] =>
  Array.isArray(value) ? value.filter(isObject) : []
const pathOf = (terms: Json | undefined): string =>
  typeof terms === 'string'
    ? terms
    : objects(terms)
        .map(({ value }) => String(value))
        .join('.')

/** The clauses of each expression in which one that replaces a function stands before one of a document. */
function expressions(node: Json, isMock: (target: Json) => boolean): Clause[][] {
  if (Array.isArray(node)) return node.flatMap((item) => expressions(item, isMock))
  if (!isObject(node)) return []
  const inner = Object.values(node).flatMap((item) => expressions(item, isMock))
  const clauses = objects(node.with).map(({ target = null, value = null }) => ({
    target,
    value,
    mock: isMock(target),
  }))
  const first = clauses.findIndex(({ mock }) => mock)
  return first >= 0 && clauses.slice(first).some(({ mock }) => !mock) ? [clauses, ...inner] : inner
}

/** Where each clause stands, from its target to the end of its value. */
function spansOf(text: string, clauses: Clause[], name: string): Span[] {
  const lines = [0]
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) lines.push(at + 1)
  const placeOf = (term: Json): { start: number; end: number } => {
    const location = isObject(term) && isObject(term.location ?? null) ? (term.location as JsonObject) : {}
    const words = Buffer.from(String(location.text ?? ''), 'base64').toString('utf8')
    const line = lines[Number(location.row) - 1] ?? 0
    // A column counts characters, of which JavaScript may have two units each.
    const rest = text.slice(line, line + 2 * Number(location.col))
    const start = line + [...rest].slice(0, Number(location.col) - 1).join('').length
    if (words === '' || !text.startsWith(words, start))
      throw new OpaError(
        `${name}:${String(location.row)}: write \`with input\` and \`with data\` before what replaces functions`,
      )
    return { start, end: start + words.length }
  }
  return clauses.map(({ target, value, mock }) => ({
    start: placeOf(target).start,
    end: placeOf(value).end,
    mock,
  }))
}

function outermost(all: Span[][]): Span[][] {
  const within = (a: Span[], b: Span[]) =>
    a !== b && (b[0]?.start ?? 0) <= (a[0]?.start ?? 0) && (a.at(-1)?.end ?? 0) <= (b.at(-1)?.end ?? 0)
  return all.filter((spans) => !all.some((other) => within(spans, other)))
}
