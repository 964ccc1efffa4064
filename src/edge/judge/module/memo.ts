import { body, call, constant, get, globalGet, globalSet, load, OP, set, store } from './code.ts'
import { type Functions, functionsOf, indexOf } from './functions.ts'
import { ModuleError, sectionsOf } from './reader.ts'
import { functionSections, oneGlobalMore, written } from './rewrite.ts'

/** Of the first bytes of a list: where the one before it is, and the one after it, which is kept for the next `with`. */
const [BEFORE, AFTER, PLACES] = [0, 4, 8]
/** A place is an address: 1 << 2 bytes. */
const PLACE_SHIFT = 2
const INIT = 'opa_memoize_init'

/**
 * The module with another memory of what its rules came to. OPA's (wasm/src/memoize.c) is an object of Rego by the
 * index of the rule's function: hashed at each mention of a rule, copied as it grows. Here it
 * is a list with a place for each function, 0 where nothing is known, and one more for each `with` that is entered.
 * @throws ModuleError where the module is not of the form that OPA's compiler writes
 */
export function withMemoLists(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const sections = sectionsOf(bytes)
  const functions = functionsOf(sections)
  const { content, index } = oneGlobalMore(sections, functions, 0)
  const bodies = [...functions.bodies]
  for (const [name, replacement] of Object.entries(memory(functions, index))) {
    // Without a `with` in the policy there is no `push` and no `pop`.
    if (name !== INIT && !functions.named.has(name)) continue
    const place = indexOf(functions, name) - (functions.types.length - bodies.length)
    if (!bodies[place]) throw new ModuleError(`${name} is imported`)
    bodies[place] = replacement
  }
  const types = functions.types.slice(-bodies.length)
  return written(sections, { ...content, ...functionSections(types, bodies) })
}

/** By the name of the function in C, with `current` the global that has the list in use. */
function memory(functions: Functions, current: number): Record<string, Uint8Array> {
  const malloc = indexOf(functions, 'opa_malloc')
  const size = PLACES + (functions.types.length << PLACE_SHIFT)
  const made = [...constant(size), ...call(malloc), ...set(0)]
  const emptied = [
    ...get(0),
    ...constant(PLACES),
    ...OP.add,
    ...constant(0),
    ...constant(size - PLACES),
    ...OP.memoryFill,
  ]
  const inUse = [...get(0), ...globalSet(current)]
  const place = [...globalGet(current), ...get(0), ...constant(PLACE_SHIFT), ...OP.shl, ...OP.add]
  return {
    [INIT]: body(1, made, get(0), constant(0), store(AFTER), emptied, inUse),
    opa_memoize_push: body(
      1,
      [...globalGet(current), ...load(AFTER), ...set(0)],
      [...get(0), ...OP.eqz, ...OP.if],
      [
        ...made,
        ...get(0),
        ...constant(0),
        ...store(AFTER),
        ...get(0),
        ...globalGet(current),
        ...store(BEFORE),
      ],
      [...globalGet(current), ...get(0), ...store(AFTER)],
      OP.end,
      emptied,
      inUse,
    ),
    opa_memoize_pop: body(0, globalGet(current), load(BEFORE), globalSet(current)),
    opa_memoize_insert: body(0, place, get(1), store(PLACES)),
    opa_memoize_get: body(0, place, load(PLACES)),
  }
}
