import { parseDocument } from 'yaml'
import { isMap } from './settings.ts'

/**
 * What a configuration file says, as a tree: one YAML document, `key.key=value` settings over it, `${NAME}` from the
 * environment in its values.
 * @param text the file, or undefined where everything is set by `sets`
 * @param faults filled with what cannot be read, or is not there
 */
export function readTree(
  text: string | undefined,
  sets: string[],
  env: Record<string, string | undefined>,
  faults: string[],
): unknown {
  let tree: unknown = {}
  try {
    const document = parseDocument(text ?? '', { uniqueKeys: true, stringKeys: true })
    for (const error of document.errors) faults.push(`the file is not YAML: ${error.message.split('\n')[0]}`)
    if (faults.length === 0) tree = document.toJS() ?? {}
  } catch (error) {
    // Aliases that unfold to more than the library takes, or more depth than there is stack.
    faults.push(`the file is not YAML that can be read: ${(error as Error).message}`)
  }
  if (!isMap(tree)) {
    faults.push('the file must be a map')
    tree = {}
  }
  for (const set of sets) applySet(tree as Record<string, unknown>, set, faults)
  return substitute(tree, '', env, faults)
}

/** `a.b.c=value`; the value is read as YAML. */
function applySet(tree: Record<string, unknown>, set: string, faults: string[]): void {
  const cut = set.indexOf('=')
  const keys = set.slice(0, cut).split('.')
  if (cut < 1 || keys.some((key) => key === '' || key === '__proto__')) {
    faults.push(`--set ${set.slice(0, 80)}: must be key.key=value`)
    return
  }
  let at = tree
  for (const key of keys.slice(0, -1)) {
    if (!isMap(at[key])) at[key] = {}
    at = at[key] as Record<string, unknown>
  }
  try {
    const value = parseDocument(set.slice(cut + 1), { uniqueKeys: true, stringKeys: true })
    if (value.errors.length > 0) faults.push(`--set ${keys.join('.')}: the value is not YAML`)
    else at[keys.at(-1) as string] = value.toJS()
  } catch (error) {
    faults.push(`--set ${keys.join('.')}: the value cannot be read: ${(error as Error).message}`)
  }
}

/**
 * `${NAME}` in values, after the file was read, so that a value cannot become structure.
 * @param within the maps and lists that this one is in: an alias of one of them has no end
 */
function substitute(
  node: unknown,
  path: string,
  env: Record<string, string | undefined>,
  faults: string[],
  within: unknown[] = [],
): unknown {
  if (typeof node === 'string') {
    return node.replace(/\$\{([A-Za-z_][A-Za-z0-9_]*)\}/g, (_whole, name: string) => {
      const value = env[name]
      if (value === undefined) faults.push(`${path}: the environment has no ${name}`)
      return value ?? ''
    })
  }
  if (within.includes(node)) {
    faults.push(`${path}: refers to what it is in`)
    return undefined
  }
  const inner = [...within, node]
  if (Array.isArray(node)) return node.map((item, i) => substitute(item, `${path}[${i}]`, env, faults, inner))
  if (!isMap(node)) return node
  return Object.fromEntries(
    Object.entries(node).map(([key, item]) => [
      key,
      substitute(item, path === '' ? key : `${path}.${key}`, env, faults, inner),
    ]),
  )
}
