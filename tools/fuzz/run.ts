import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createRandom, mutate } from './random.ts'
import type { Target } from './target.ts'

/** Inputs that once found something, or reach where others do not; each is tried first. */
const CORPUS = fileURLToPath(new URL('corpus', import.meta.url))
/**
 * Milliseconds of this thread that one input may take: a hang is a finding, a busy machine is none. The `http` target
 * has a bound of its own.
 */
const SLOW = 1_000

export type Finding = { target: string; file: string; what: string }
export type Result = { target: string; inputs: number; findings: Finding[] }

/**
 * Tries the corpus, then changed inputs until the time is over. An input for which something does not hold is saved.
 * @param seed the same inputs for the same seed, as far as time allows
 */
export async function fuzz(target: Target, seconds: number, seed: number): Promise<Result> {
  const random = createRandom(seed)
  const saved = corpusOf(target.name)
  const pool = [...target.seeds, ...saved]
  const findings: Finding[] = []
  let inputs = 0
  const attempt = async (input: Buffer) => {
    inputs++
    const began = process.threadCpuUsage()
    try {
      await target.check(input, random)
      const { user, system } = process.threadCpuUsage(began)
      const took = (user + system) / 1000
      if (took > SLOW && target.name !== 'http') throw new Error(`took ${Math.round(took)} ms`)
    } catch (error) {
      findings.push({ target: target.name, file: save(target.name, input), what: (error as Error).message })
    }
  }
  for (const input of pool) await attempt(input)
  const until = performance.now() + seconds * 1000
  while (performance.now() < until && findings.length < 5) {
    await attempt(mutate(random, random.pick(pool), pool, target.words))
    // Timers and sockets have their turn.
    if (inputs % 256 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  try {
    await target.close?.()
  } catch (error) {
    findings.push({ target: target.name, file: '', what: (error as Error).message })
  }
  return { target: target.name, inputs, findings }
}

function corpusOf(name: string): Buffer[] {
  const folder = join(CORPUS, name)
  try {
    return readdirSync(folder)
      .sort()
      .map((file) => readFileSync(join(folder, file)))
  } catch {
    return []
  }
}

function save(name: string, input: Buffer): string {
  const folder = join(CORPUS, name)
  mkdirSync(folder, { recursive: true })
  const file = join(folder, createHash('sha256').update(input).digest('hex').slice(0, 16))
  writeFileSync(file, input)
  return file
}
