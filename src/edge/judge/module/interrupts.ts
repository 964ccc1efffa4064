import { args, asksHost, body, call, constant, globalGet, globalSet, OP } from './code.ts'
import { functionsOf, ownFunction } from './functions.ts'
import { sectionsOf } from './reader.ts'
import { dispatcherOf, functionSections, oneGlobalMore, written } from './rewrite.ts'

/**
 * What is called again and again by nearly all that takes long: a rule goes through a collection by `opa_value_iter`
 * (OPA's internal/compiler/wasm), whatever makes a value asks for its memory, and whatever sorts or looks up compares.
 * What is in one builtin of the host does not ask. With the arguments of each.
 */
const COUNTED = { opa_value_iter: 2, opa_malloc: 1, opa_value_compare: 2 }
/** Calls of these between two questions to the host: some ten microseconds, of which one question is a hundredth. */
const CALLS = 1000

/**
 * The module as one that asks its host now and then, while it evaluates, whether it should go on.
 * @param id what the host is asked by
 * @throws ModuleError where the module is not of the form that OPA's compiler writes
 */
export function withInterrupts(bytes: Uint8Array, id: number): Uint8Array<ArrayBuffer> {
  const sections = sectionsOf(bytes)
  const functions = functionsOf(sections)
  const { content, index: left } = oneGlobalMore(sections, functions, CALLS)
  const counted = [
    ...[...globalGet(left), ...constant(1), ...OP.sub, ...globalSet(left)],
    ...[...globalGet(left), ...OP.eqz, ...OP.if],
    ...[...constant(CALLS), ...globalSet(left)],
    ...[...asksHost(id, 0, dispatcherOf(functions, 0)), ...OP.drop],
    ...OP.end,
  ]
  const first = functions.types.length - functions.bodies.length
  const bodies = [...functions.bodies]
  const types = functions.types.slice(first)
  for (const [name, arity] of Object.entries(COUNTED)) {
    const { place, native, type } = ownFunction(functions, name, arity)
    bodies[place] = body(0, counted, args(arity), call(first + bodies.length))
    bodies.push(native)
    types.push(type)
  }
  return written(sections, { ...content, ...functionSections(types, bodies) })
}
