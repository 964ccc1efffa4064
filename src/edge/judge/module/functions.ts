import { ModuleError, type Reader, reader, type Section, whole } from './reader.ts'

/** Sections by their numbers (core specification, "Modules"). */
export const SECTION = { custom: 0, type: 1, import: 2, function: 3, global: 6, export: 7, code: 10 } as const

const I32 = 0x7f
const FUNCTION = 0x60
const KIND_GLOBAL = 3

export type Functions = {
  /** by type: how many `i32` it takes to give one; undefined for any other type */
  arities: (number | undefined)[]
  /** `env`'s functions by name, with their index */
  imported: Map<string, number>
  /** by index of the function, imported ones first: the index of its type */
  types: number[]
  /** by index, less the imported ones */
  bodies: Uint8Array[]
  /** how many globals are imported: they come before the module's own */
  globals: number
  /** by name, with all indexes that bear it */
  named: Map<string, number[]>
}

/** @throws ModuleError where the module is not of the form that OPA's compiler writes */
export function functionsOf(sections: Section[]): Functions {
  const content = (id: number) => sections.find((section) => section.id === id)?.content
  const arities = whole(content(SECTION.type), (from) => from.list(arityOf))
  const everything = whole(content(SECTION.import), (from) => from.list(importOf))
  const imports = everything.filter(({ type }) => type >= 0)
  const globals = everything.filter(({ kind }) => kind === KIND_GLOBAL).length
  const own = whole(content(SECTION.function), (from) => from.list((of) => of.u32()))
  const bodies = whole(content(SECTION.code), (from) => from.list((of) => of.block()))
  if (bodies.length !== own.length) throw new ModuleError('functions and their code are not as many')
  const types = [...imports.map(({ type }) => type), ...own]
  if (types.some((type) => type >= arities.length)) throw new ModuleError('a function of an unknown type')
  const imported = new Map<string, number>()
  for (const [index, { module, name }] of imports.entries()) if (module === 'env') imported.set(name, index)
  const named = namesOf(sections)
  for (const [name, index] of whole(content(SECTION.export), (from) => from.list(exportOf))) {
    // The names are believed where they are those of the exports: a table of another module's would not be.
    if (index === undefined || !name.startsWith('opa_')) continue
    if (!named.get(name)?.includes(index)) throw new ModuleError(`${name} is exported, but not named`)
  }
  return { arities, imported, types, bodies, globals, named }
}

/** Of the one function of that name. */
export function indexOf({ named }: Functions, name: string): number {
  const [index, twin] = named.get(name) ?? []
  if (index === undefined || twin !== undefined) throw new ModuleError(`not one function ${name}`)
  return index
}

/** That one function, which the module has itself: its place among the bodies, its body, and the index of its type. */
export function ownFunction(
  functions: Functions,
  name: string,
  arity: number,
): { place: number; native: Uint8Array; type: number } {
  const { types, bodies, arities } = functions
  const index = indexOf(functions, name)
  const place = index - (types.length - bodies.length)
  const [native, type] = [bodies[place], types[index]]
  if (!native || type === undefined || arities[type] !== arity)
    throw new ModuleError(`${name} is not a function of ${arity} arguments`)
  return { place, native, type }
}

function arityOf(from: Reader): number | undefined {
  if (from.byte() !== FUNCTION) throw new ModuleError('a type that is no function')
  const params = from.list((of) => of.byte())
  const results = from.list((of) => of.byte())
  return results.length === 1 && [...params, ...results].every((type) => type === I32)
    ? params.length
    : undefined
}

/** `type` is -1 for what is no function. */
function importOf(from: Reader): { module: string; name: string; kind: number; type: number } {
  const [module, name, kind] = [from.name(), from.name(), from.byte()]
  const limits = () => {
    const bounded = from.byte()
    if (bounded > 1) throw new ModuleError('a memory or table of an unknown kind')
    from.u32()
    if (bounded === 1) from.u32()
  }
  if (kind === 0) return { module, name, kind, type: from.u32() }
  if (kind === 1) {
    from.byte()
    limits()
  } else if (kind === 2) limits()
  else if (kind === KIND_GLOBAL) from.take(2)
  else throw new ModuleError('an import of an unknown kind')
  return { module, name, kind, type: -1 }
}

function exportOf(from: Reader): [name: string, index: number | undefined] {
  const [name, kind, index] = [from.name(), from.byte(), from.u32()]
  return [name, kind === 0 ? index : undefined]
}

/** The names of functions in the custom section `name` (core specification, appendix "Name Section"). */
function namesOf(sections: Section[]): Map<string, number[]> {
  const named = new Map<string, number[]>()
  for (const { id, content } of sections) {
    if (id !== SECTION.custom) continue
    const from = reader(content)
    if (from.name() !== 'name') continue
    while (!from.ended()) {
      const [part, inner] = [from.byte(), from.block()]
      if (part !== 1) continue
      for (const [index, name] of whole(inner, (names) =>
        names.list((of) => [of.u32(), of.name()] as const),
      )) {
        const there = named.get(name)
        if (there) there.push(index)
        else named.set(name, [index])
      }
    }
  }
  if (named.size === 0)
    throw new ModuleError('its functions have no names: it was stripped after `opa build`')
  return named
}
