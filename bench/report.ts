import { cpus, totalmem } from 'node:os'
import type { Measured } from './load.ts'
import { KINDS, type Kind, TITLES } from './traffic.ts'

/** One variant, measured once. `processor`: microseconds of processor time of its process for one answer. */
export type Cell = Measured & {
  variant: string
  kind: Kind
  concurrency: number
  round: number
  processor: number | undefined
}
/** Resident megabytes of a variant's process. */
export type Memory = { idle: number | undefined; loaded: number | undefined }

export type Findings = {
  cells: Cell[]
  memory: Map<string, Memory>
  skipped: string[]
  concurrencies: number[]
  seconds: number
  rounds: number
  idleSeconds: number
  /** requests that had to use an assertion for a second time */
  reused: number
}

const BASE = 'proxy'
/** The sidecar without TypeScript, measured in memory only. */
export const AS_JAVASCRIPT = 'sidecar as JavaScript'

/** The findings as Markdown. */
export function report(found: Findings): string {
  const kinds = KINDS.filter((kind) => found.cells.some((cell) => cell.kind === kind))
  const sections = [
    [machineLine(found)],
    ...kinds.map((kind) => tableOf(found, kind)),
    memoryTable(found),
    goals(found),
    found.skipped.map((line) => `SKIPPED ${line}`),
  ]
  return `${sections
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.join('\n'))
    .join('\n\n')}\n`
}

function machineLine({ seconds, rounds, reused }: Findings): string {
  const [first] = cpus()
  const gb = Math.round(totalmem() / 1e9)
  return [
    `${cpus().length} × ${first?.model.trim() ?? 'processor'}, ${gb} GB, ${process.platform}, Node ${process.versions.node};`,
    `each figure is the median of ${rounds} rounds of ${seconds} s;`,
    `load generator, upstream and what is measured share the processors: take the ratios.`,
    ...(reused > 0 ? [`${reused} requests used an assertion for a second time.`] : []),
  ].join(' ')
}

function tableOf(found: Findings, kind: Kind): string[] {
  const { concurrencies } = found
  const head = ['']
  for (const concurrency of concurrencies) {
    const c = `c=${concurrency}`
    if (concurrency === 1) head.push(`${c} p50 ms`, 'over proxy', `${c} p99 ms`)
    else head.push(`${c} /s`, 'of proxy', `${c} p50 ms`, `${c} p99 ms`)
  }
  head.push(`µs CPU at ${concurrencies.at(-1)}`)
  const rows = variantsOf(found).map((variant) => {
    const row = [variant]
    for (const concurrency of concurrencies) {
      const at = pick(found, variant, kind, concurrency)
      if (concurrency === 1) {
        const over = median(paired(found, variant, kind, 1, (cell, base) => cell.p50 - base.p50))
        row.push(number(at('p50'), 2), variant === BASE ? '' : signed(over), number(at('p99'), 2))
      } else {
        const of = median(
          paired(found, variant, kind, concurrency, (cell, base) => cell.perSecond / base.perSecond),
        )
        row.push(number(at('perSecond'), 0), number(of, 2), number(at('p50'), 1), number(at('p99'), 1))
      }
    }
    row.push(number(pick(found, variant, kind, concurrencies.at(-1) ?? 1)('processor'), 0))
    return row
  })
  return [`**${TITLES[kind]}**`, '', ...markdown([head, ...rows])]
}

function memoryTable(found: Findings): string[] {
  const rows = [...found.memory]
    .filter(([name]) => name !== 'direct')
    .map(([name, { idle, loaded }]) => [name, number(idle, 0), number(loaded, 0)])
  return markdown([
    ['resident MB', `idle, ${found.idleSeconds} s after the start`, 'under load, most'],
    ...rows,
  ])
}

function goals(found: Findings): string[] {
  const lines: string[] = []
  const goal = (what: string, value: number | undefined, good: (v: number) => boolean, digits = 2) => {
    if (value !== undefined)
      lines.push(`- ${good(value) ? 'met' : 'NOT MET'}: ${what}: ${number(value, digits)}`)
  }
  const at = (
    variant: string,
    kind: Kind,
    concurrency: number,
    of: (cell: Cell, base: Cell) => number,
    base = BASE,
  ) => median(paired(found, variant, kind, concurrency, of, base))
  const throughput = (cell: Cell, base: Cell) => cell.perSecond / base.perSecond
  const added = (cell: Cell, base: Cell) => cell.p50 - base.p50

  goal(
    'ES256, calls at 64, of the proxy ≥ 0.65',
    at('sidecar ES256', 'call', 64, throughput),
    (v) => v >= 0.65,
  )
  goal('RS256, calls at 64, of the proxy ≥ 0.9', at('sidecar RS256', 'call', 64, throughput), (v) => v >= 0.9)
  goal(
    'ES256, p50 ms of a call at 1 over the proxy ≤ 0.5',
    at('sidecar ES256', 'call', 1, added),
    (v) => v <= 0.5,
  )
  goal(
    'RS256, p50 ms of a call at 1 over the proxy ≤ 0.25',
    at('sidecar RS256', 'call', 1, added),
    (v) => v <= 0.25,
  )
  goal('ES256, lists at 64, of the proxy ≥ 0.5', at('sidecar ES256', 'list', 64, throughput), (v) => v >= 0.5)
  goal(
    'ES256, calls at 64, of the remote OPA ≥ 3',
    at('sidecar ES256', 'call', 64, throughput, 'remote OPA'),
    (v) => v >= 3,
  )
  for (const name of ['sidecar ES256', AS_JAVASCRIPT])
    goal(`${name}, resident MB when idle ≤ 160`, found.memory.get(name)?.idle, (v) => v <= 160, 0)
  const gained = at('sidecar ES256', 'call', 64, throughput, 'main thread')
  const paid = at('sidecar ES256', 'call', 1, added, 'main thread')
  if (gained !== undefined && paid !== undefined) {
    lines.push(
      `- the judging thread against the main thread, ES256: ${number(gained, 2)} × the calls at 64, ${signed(paid)} ms of p50 at 1`,
    )
  }
  return lines
}

const variantsOf = ({ cells }: Findings): string[] => [...new Set(cells.map((cell) => cell.variant))]

const pick =
  ({ cells }: Findings, variant: string, kind: Kind, concurrency: number) =>
  (key: 'p50' | 'p99' | 'perSecond' | 'processor'): number | undefined =>
    median(
      cells
        .filter((c) => c.variant === variant && c.kind === kind && c.concurrency === concurrency)
        .map((c) => c[key])
        .filter((value) => value !== undefined),
    )

/** A comparison within each round: what disturbed one of the two has likely disturbed the other. */
function paired(
  { cells }: Findings,
  variant: string,
  kind: Kind,
  concurrency: number,
  of: (cell: Cell, base: Cell) => number,
  base = BASE,
): number[] {
  const same = (name: string, round: number) =>
    cells.find(
      (c) => c.variant === name && c.kind === kind && c.concurrency === concurrency && c.round === round,
    )
  const rounds = [...new Set(cells.map((cell) => cell.round))]
  return rounds.flatMap((round) => {
    const [one, other] = [same(variant, round), same(base, round)]
    return one && other ? [of(one, other)] : []
  })
}

function median(values: number[]): number | undefined {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle]
  if (upper === undefined || sorted.length % 2 === 1) return upper
  return (upper + (sorted[middle - 1] as number)) / 2
}

function number(value: number | undefined, digits: number): string {
  return value === undefined
    ? '–'
    : value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

const signed = (value: number | undefined): string =>
  value === undefined ? '–' : `${value >= 0 ? '+' : '−'}${number(Math.abs(value), 2)}`

function markdown([head = [], ...rows]: string[][]): string[] {
  const line = (cells: string[]) => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map((_cell, i) => (i === 0 ? '---' : '---:'))), ...rows.map(line)]
}
