import { type Ask, guardedBody, hostBody, leb, QUESTIONS, type Question } from './code.ts'
import { type Functions, functionsOf, SECTION } from './functions.ts'
import { MAGIC, ModuleError, type Section, sectionsOf } from './reader.ts'

/** A function of the module's C that the host answers in its place. */
export type Replaced = {
  /** its name in the module */
  name: string
  /** what the host is asked by, in the place of the numbers that the module gives its own questions */
  id: number
  arity: number
  /** the module's own answers unless one of these holds; without any the host always does */
  when?: readonly Ask[]
}

const MOST_FUNCTIONS = 200_000

/**
 * The module with the bodies of functions replaced that OPA's compiler put in it. No index moves: what is new comes
 * after all that is there, and only the sections of functions and of code change. What a policy does not use is not in
 * its module, and needs nothing.
 * @throws ModuleError where the module is not of the form that OPA's compiler writes
 */
export function rewritten(bytes: Uint8Array, replaced: readonly Replaced[]): Uint8Array<ArrayBuffer> {
  const sections = sectionsOf(bytes)
  const functions = functionsOf(sections)
  const first = functions.types.length - functions.bodies.length
  const added: { type: number; body: Uint8Array }[] = []
  const add = (type: number, body: Uint8Array): number => {
    added.push({ type, body })
    return functions.types.length + added.length - 1
  }
  const helpers = new Map<Question, number>()
  const helper = (question: Question): number => {
    const there = helpers.get(question)
    if (there !== undefined) return there
    const how = QUESTIONS[question]
    const index = add(unaryType(functions), how instanceof Uint8Array ? how : how[1](helper(how[0])))
    helpers.set(question, index)
    return index
  }
  const bodies = [...functions.bodies]
  for (const { name, id, arity, when } of replaced) {
    const [index, twin] = functions.named.get(name) ?? []
    if (index === undefined) continue
    if (twin !== undefined) throw new ModuleError(`two functions ${name}`)
    const native = functions.bodies[index - first]
    const type = functions.types[index]
    if (!native || type === undefined || functions.arities[type] !== arity)
      throw new ModuleError(`${name} is not a function of ${arity} arguments`)
    const dispatcher = dispatcherOf(functions, arity)
    bodies[index - first] = when
      ? guardedBody(id, arity, dispatcher, when, helper, add(type, native))
      : hostBody(id, arity, dispatcher)
  }
  const count = functions.bodies.length + added.length
  if (count > MOST_FUNCTIONS) throw new ModuleError(`more than ${MOST_FUNCTIONS} functions`)
  const types = [...functions.types.slice(first), ...added.map(({ type }) => type)]
  return written(
    sections.map((section): Section => {
      if (section.id === SECTION.function)
        return { id: section.id, content: joined([leb(count), ...types.map(leb)]) }
      if (section.id !== SECTION.code) return section
      return { id: section.id, content: codeOf([...bodies, ...added.map(({ body }) => body)]) }
    }),
  )
}

/** `opa_builtinN`: the number, a context that is not used, and the arguments. */
function dispatcherOf({ imported, types, arities }: Functions, arity: number): number {
  const index = imported.get(`opa_builtin${arity}`)
  const type = index === undefined ? undefined : types[index]
  if (index === undefined || type === undefined || arities[type] !== arity + 2)
    throw new ModuleError(`it does not import opa_builtin${arity}`)
  return index
}

function unaryType({ arities }: Functions): number {
  const type = arities.indexOf(1)
  if (type < 0) throw new ModuleError('it has no functions of one argument')
  return type
}

/** The content of a section of code. */
export const codeOf = (bodies: readonly Uint8Array[]): Uint8Array =>
  joined([leb(bodies.length), ...bodies.flatMap((body) => [leb(body.length), body])])

export const written = (sections: Section[]): Uint8Array<ArrayBuffer> =>
  joined([MAGIC, ...sections.flatMap(({ id, content }) => [[id], leb(content.length), content])])

export function joined(parts: readonly (readonly number[] | Uint8Array)[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((length, part) => length + part.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}
