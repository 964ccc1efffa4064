import { pathOf } from './object.ts'
import { type Builtin, members, object } from './operand.ts'
import { OperandError, RegoObject, RegoSet, type Value } from './value.ts'

/** The paths as one tree; a shorter one that comes before a longer one ends it there. */
function treeOf(value: Value | undefined): RegoObject {
  let tree = new RegoObject([])
  for (const path of members(value).map(segments)) tree = inserted(tree, path) ?? tree
  return tree
}

function segments(value: Value): readonly Value[] {
  if (typeof value !== 'string' && !Array.isArray(value))
    throw new OperandError('must hold paths or arrays of their parts')
  return pathOf(value)
}

function inserted(tree: RegoObject, [key, ...rest]: readonly Value[]): RegoObject | undefined {
  if (key === undefined) return undefined
  if (rest.length === 0) return new RegoObject([...tree.entries, [key, null]])
  const there = tree.get(key)
  if (there === null) return undefined
  const child = inserted(there instanceof RegoObject ? there : new RegoObject([]), rest)
  return child && new RegoObject([...tree.entries, [key, child]])
}

/** Keys of arrays are texts: those of a path. */
const index = (i: number): Value => String(i)

function kept(value: Value, tree: Value): Value {
  if (tree === null || !(tree instanceof RegoObject)) return value
  const inner = (of: Value, key: Value): Value[] => {
    const there = tree.get(key)
    return there === undefined ? [] : [kept(of, there)]
  }
  if (Array.isArray(value)) return value.flatMap((of: Value, i) => inner(of, index(i)))
  if (value instanceof RegoSet) return new RegoSet(value.items.flatMap((of) => inner(of, of)))
  if (!(value instanceof RegoObject)) return value
  return new RegoObject(
    value.entries.flatMap(([key, of]) => inner(of, key).map((found): [Value, Value] => [key, found])),
  )
}

/** Undefined for what a path ends at. */
function without(value: Value, tree: Value | undefined): Value | undefined {
  if (tree === null) return undefined
  if (!(tree instanceof RegoObject)) return value
  const inner = (of: Value, key: Value): Value[] => {
    const found = without(of, tree.get(key))
    return found === undefined ? [] : [found]
  }
  if (Array.isArray(value)) return value.flatMap((of: Value, i) => inner(of, index(i)))
  if (value instanceof RegoSet) return new RegoSet(value.items.flatMap((of) => inner(of, of)))
  if (!(value instanceof RegoObject)) return value
  return new RegoObject(
    value.entries.flatMap(([key, of]) => inner(of, key).map((found): [Value, Value] => [key, found])),
  )
}

export const JSON_PATHS = {
  'json.filter': ([value, paths]) => kept(object(value), treeOf(paths)),
  'json.remove': ([value, paths]) => without(object(value), treeOf(paths)) as Value,
} satisfies Record<string, Builtin>
