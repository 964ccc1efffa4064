import { type Ask, globalI32, guardedBody, hostBody, leb, QUESTIONS, type Question } from './code.ts'
import { type Functions, functionsOf, ownFunction, SECTION } from './functions.ts'
import { MAGIC, ModuleError, type Section, sectionsOf, whole } from './reader.ts'

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
    if (!functions.named.has(name)) continue
    const { place, native, type } = ownFunction(functions, name, arity)
    const dispatcher = dispatcherOf(functions, arity)
    bodies[place] = when
      ? guardedBody(id, arity, dispatcher, when, helper, add(type, native))
      : hostBody(id, arity, dispatcher)
  }
  const types = [...functions.types.slice(-functions.bodies.length), ...added.map(({ type }) => type)]
  return written(sections, functionSections(types, [...bodies, ...added.map(({ body }) => body)]))
}

/** `opa_builtinN`: the number, a context that is not used, and the arguments. */
export function dispatcherOf({ imported, types, arities }: Functions, arity: number): number {
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

/** What a section has in it now, by its number. */
export type Contents = { readonly [section: number]: Uint8Array }

/** @param types of the module's own functions, in the order of the bodies */
export function functionSections(types: readonly number[], bodies: readonly Uint8Array[]): Contents {
  if (bodies.length > MOST_FUNCTIONS) throw new ModuleError(`more than ${MOST_FUNCTIONS} functions`)
  return {
    [SECTION.function]: joined([leb(types.length), ...types.map(leb)]),
    [SECTION.code]: joined([leb(bodies.length), ...bodies.flatMap((body) => [leb(body.length), body])]),
  }
}

/** A variable of 32 bits at the end of the module's own, and its index. */
export function oneGlobalMore(
  sections: Section[],
  { globals }: Functions,
  value: number,
): { content: Contents; index: number } {
  const there = sections.find(({ id }) => id === SECTION.global)?.content
  const [count, others] = whole(there, (from) => [from.u32(), from.rest()] as const)
  const content = joined([leb(count + 1), others, globalI32(value)])
  return { content: { [SECTION.global]: content }, index: globals + count }
}

/** The module with other contents in some of its sections. */
export const written = (sections: Section[], contents: Contents): Uint8Array<ArrayBuffer> =>
  joined([
    MAGIC,
    ...sections.flatMap(({ id, content }) => {
      const now = contents[id] ?? content
      return [[id], leb(now.length), now]
    }),
  ])

export function joined(parts: readonly (readonly number[] | Uint8Array)[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((length, part) => length + part.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}
