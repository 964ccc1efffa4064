import { array, type Builtin, isArray, members, object, text, toInt64 } from './operand.ts'
import { compare, Num, OperandError, RegoObject, RegoSet, type Value } from './value.ts'

const equal = (a: Value, b: Value): boolean => compare(a, b) === 0

const subset: Builtin = ([of, sub]) => {
  if (of instanceof RegoObject && sub instanceof RegoObject) return objectSubset(of, sub)
  if (of instanceof RegoSet && sub instanceof RegoSet) return sub.items.every((item) => of.has(item))
  if (isArray(of) && isArray(sub)) return arraySubset(of, sub)
  if (isArray(of) && sub instanceof RegoSet) {
    // As in OPA: an item that comes twice counts twice, and an empty array has no subset.
    const found = of.filter((item) => sub.has(item)).length
    return of.length > 0 && found >= sub.items.length
  }
  throw new OperandError('both must be of the same type, or array and set')
}

const objectSubset = (of: RegoObject, sub: RegoObject): boolean =>
  sub.entries.every(([key, wanted]) => {
    const there = of.get(key)
    if (there === undefined) return false
    if (equal(there, wanted)) return true
    if (there instanceof RegoObject && wanted instanceof RegoObject) return objectSubset(there, wanted)
    if (there instanceof RegoSet && wanted instanceof RegoSet)
      return wanted.items.every((item) => there.has(item))
    return isArray(there) && isArray(wanted) && arraySubset(there, wanted)
  })

/** All of `sub`, one after the other, somewhere in `of`. */
function arraySubset(of: readonly Value[], sub: readonly Value[]): boolean {
  for (let from = 0; from + sub.length <= of.length; from++)
    if (sub.every((item, i) => equal(of[from + i] as Value, item))) return true
  return false
}

/** A path of `json.patch`: a JSON pointer, whose first slash may be missing, or an array of keys. */
export function pathOf(value: Value | undefined): readonly Value[] {
  if (isArray(value)) return value
  const pointer = text(value)
  if (pointer === '') return []
  return pointer
    .replace(/^\/+/, '')
    .split('/')
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
}

function indexIn(length: number, key: Value): number {
  if (key === '-') return length
  const found = typeof key === 'string' ? toInt64(key) : key instanceof Num ? toInt64(key.text) : undefined
  if (found === undefined) throw new OperandError('not an index')
  if (typeof key === 'string' && key !== '0' && key.startsWith('0')) throw new OperandError('leading zeros')
  if (found < 0n || found > BigInt(length)) throw new OperandError('index out of bounds')
  return Number(found)
}

function childOf(of: Value | undefined, key: Value): Value {
  let child: Value | undefined
  if (of instanceof RegoObject) child = of.get(key)
  else if (of instanceof RegoSet) child = of.has(key) ? key : undefined
  else if (isArray(of)) child = of[indexIn(of.length, key)]
  if (child === undefined) throw new OperandError('the path does not exist')
  return child
}

function replaced(of: Value, key: Value, child: Value): Value {
  if (of instanceof RegoObject) return new RegoObject([...of.entries, [key, child]])
  if (of instanceof RegoSet) return new RegoSet([...of.items.filter((item) => !equal(item, key)), child])
  return (of as Value[]).with(indexIn((of as Value[]).length, key), child)
}

/** `of` with what `change` makes of the place that holds the last key of the path. */
function changed(of: Value, path: readonly Value[], change: (place: Value, key: Value) => Value): Value {
  const [key, ...rest] = path as [Value, ...Value[]]
  if (rest.length === 0) return change(of, key)
  return replaced(of, key, changed(childOf(of, key), rest, change))
}

function insert(of: Value | undefined, path: readonly Value[], value: Value): Value {
  if (path.length === 0) return value
  if (of === undefined) throw new OperandError('nothing is there')
  return changed(of, path, (place, key) => {
    if (place instanceof RegoObject) return new RegoObject([...place.entries, [key, value]])
    if (place instanceof RegoSet) {
      if (!equal(key, value)) throw new OperandError('a set holds what it is asked for')
      return new RegoSet([...place.items, value])
    }
    if (isArray(place)) return place.toSpliced(indexIn(place.length, key), 0, value)
    throw new OperandError('neither object, array nor set')
  })
}

function remove(of: Value | undefined, path: readonly Value[]): Value | undefined {
  if (of === undefined) throw new OperandError('nothing is there')
  if (path.length === 0) return undefined
  return changed(of, path, (place, key) => {
    childOf(place, key)
    if (place instanceof RegoObject)
      return new RegoObject(place.entries.filter(([there]) => !equal(there, key)))
    if (place instanceof RegoSet) return new RegoSet(place.items.filter((item) => !equal(item, key)))
    return (place as Value[]).toSpliced(indexIn((place as Value[]).length, key), 1)
  })
}

const at = (of: Value | undefined, path: readonly Value[]): Value => {
  const found = path.reduce<Value | undefined>((value, key) => childOf(value, key), of)
  if (found === undefined) throw new OperandError('nothing is there')
  return found
}

const needed = (operation: RegoObject, name: string): Value => {
  const value = operation.get(name)
  if (value === undefined) throw new OperandError(`missing required attribute ${name}`)
  return value
}

const patch: Builtin = ([source, operations]) => {
  let value: Value | undefined = source
  for (const operation of array(operations).map(object)) {
    const path = pathOf(needed(operation, 'path'))
    const op = text(needed(operation, 'op'))
    if (op === 'add') value = insert(value, path, needed(operation, 'value'))
    else if (op === 'remove') value = remove(value, path)
    else if (op === 'replace') value = insert(remove(value, path), path, needed(operation, 'value'))
    else if (op === 'move' || op === 'copy') {
      const from = pathOf(needed(operation, 'from'))
      const moved = at(value, from)
      value = insert(op === 'move' ? remove(value, from) : value, path, moved)
    } else if (op === 'test') {
      if (!equal(at(value, path), needed(operation, 'value'))) throw new OperandError('the test failed')
    } else throw new OperandError('unrecognized op')
  }
  if (value === undefined) throw new OperandError('nothing is left')
  return value
}

const edges = (of: Value): readonly Value[] => (isArray(of) || of instanceof RegoSet ? members(of) : [])

const reachablePaths: Builtin = ([given, initial]) => {
  const graph = object(given)
  const found: Value[] = []
  const follow = (node: Value, path: Value[], reached: Value[]): void => {
    const next = graph.get(node)
    if (next === undefined) {
      found.push(path)
      return
    }
    const here = [...path, node]
    if (edges(next).length === 0) found.push(here)
    for (const neighbor of edges(next))
      if (equal(neighbor, node) || reached.some((seen) => equal(seen, neighbor))) found.push(here)
      else follow(neighbor, here, [...reached, node])
  }
  for (const node of members(initial)) {
    const next = graph.get(node)
    if (next === undefined) continue
    if (edges(next).length === 0) found.push([node])
    for (const neighbor of edges(next)) follow(neighbor, [node], [node])
  }
  return new RegoSet(found)
}

export const OBJECTS: Record<string, Builtin> = {
  'graph.reachable_paths': reachablePaths,
  'json.patch': patch,
  'object.subset': subset,
}
