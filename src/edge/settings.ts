import { readFileSync } from 'node:fs'

/**
 * Reads a tree of settings whole and collects every fault with its path, so that a person mends them in one go.
 * What was not asked for is a fault too: a key that does nothing is a mistake.
 */
export type Section = {
  path: string
  has: (key: string) => boolean
  string: (key: string, fallback?: string) => string
  optional: (key: string) => string | undefined
  boolean: (key: string, fallback: boolean) => boolean
  /** a whole number within bounds */
  integer: (key: string, fallback: number, least: number, most: number) => number
  /** milliseconds, from `50ms`, `5s`, `15m`, `1h` */
  duration: (key: string, fallback: string, least: string, most: string) => number
  oneOf: <T extends string>(key: string, choices: readonly T[], fallback: T) => T
  strings: (key: string) => string[]
  /** a map of strings */
  map: (key: string) => Record<string, string>
  section: (key: string) => Section
  /** the sections of a list or a map, by name */
  list: (key: string) => Section[]
  named: (key: string) => [name: string, section: Section][]
  fault: (key: string, text: string) => void
  /** reports keys that nobody asked for */
  done: () => void
}

const UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

export function milliseconds(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text)
  return match ? Number(match[1]) * (UNITS[match[2] as string] as number) : undefined
}

/** @param faults filled with lines of `path: what is wrong` */
export function readSection(value: unknown, path: string, faults: string[]): Section {
  const given = isMap(value) ? value : {}
  if (value !== undefined && value !== null && !isMap(value)) faults.push(`${path}: must be a map`)
  const asked = new Set<string>()
  const at = (key: string) => (path === '' ? key : `${path}.${key}`)
  const fault = (key: string, text: string) => void faults.push(`${at(key)}: ${text}`)
  const get = (key: string): unknown => {
    asked.add(key)
    const found = Object.hasOwn(given, key) ? given[key] : undefined
    return found === null ? undefined : found
  }
  const optional = (key: string): string | undefined => {
    const found = get(key)
    if (found === undefined || (typeof found === 'string' && found !== '')) return found
    fault(key, found === '' ? 'must not be empty' : 'must be a string')
    return undefined
  }

  const section: Section = {
    path,
    fault,
    has: (key) => get(key) !== undefined,
    optional,
    string(key, fallback) {
      const found = optional(key) ?? fallback
      if (found === undefined && !faults.some((line) => line.startsWith(`${at(key)}:`)))
        fault(key, 'is required')
      return found ?? ''
    },
    boolean(key, fallback) {
      const found = get(key) ?? fallback
      if (typeof found === 'boolean') return found
      fault(key, 'must be true or false')
      return fallback
    },
    integer(key, fallback, least, most) {
      const found = get(key) ?? fallback
      if (Number.isSafeInteger(found) && (found as number) >= least && (found as number) <= most)
        return found as number
      fault(key, `must be a whole number from ${least} to ${most}`)
      return fallback
    },
    duration(key, fallback, least, most) {
      const found = get(key) ?? fallback
      const ms = typeof found === 'string' ? milliseconds(found) : undefined
      const [from, to] = [milliseconds(least) ?? 0, milliseconds(most) ?? 0]
      if (ms !== undefined && ms >= from && ms <= to) return ms
      fault(key, `must be a duration from ${least} to ${most}, e.g. ${fallback}`)
      return milliseconds(fallback) ?? 0
    },
    oneOf(key, choices, fallback) {
      const found = get(key) ?? fallback
      const choice = choices.find((candidate) => candidate === found)
      if (choice === undefined) fault(key, `must be one of ${choices.join(', ')}`)
      return choice ?? fallback
    },
    strings(key) {
      const found = get(key) ?? []
      if (Array.isArray(found) && found.every((item) => typeof item === 'string')) return found
      fault(key, 'must be a list of strings')
      return []
    },
    map(key) {
      const found = get(key) ?? {}
      const out: Record<string, string> = {}
      if (!isMap(found)) fault(key, 'must be a map of strings')
      else
        for (const [name, item] of Object.entries(found)) {
          if (typeof item === 'string') out[name] = item
          else fault(`${key}.${name}`, 'must be a string')
        }
      return out
    },
    section: (key) => readSection(get(key), at(key), faults),
    list(key) {
      const found = get(key) ?? []
      if (Array.isArray(found)) return found.map((item, i) => readSection(item, at(`${key}[${i}]`), faults))
      fault(key, 'must be a list')
      return []
    },
    named(key) {
      const found = get(key) ?? {}
      if (isMap(found))
        return Object.entries(found).map(([name, item]) => [
          name,
          readSection(item, at(`${key}.${name}`), faults),
        ])
      fault(key, 'must be a map')
      return []
    },
    done() {
      for (const key of Object.keys(given)) if (!asked.has(key)) fault(key, 'is not a setting')
    },
  }
  return section
}

export const isMap = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** The text of a file that a setting names; one that cannot be read is a fault of the setting. */
export function readFileOf(section: Section, key: string, path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    section.fault(key, (error as Error).message)
    return undefined
  }
}
