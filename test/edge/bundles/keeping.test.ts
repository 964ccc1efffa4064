// What is kept of a bundle for the next start, with a real folder.
import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Change } from '../../../src/edge/bundles/activation.ts'
import { createKeeping } from '../../../src/edge/bundles/keeping.ts'
import type { BundleSettings } from '../../../src/edge/bundles/settings.ts'

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'mcp-keeping-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const settings = { mcp: { kind: 'service', persist: true } } as unknown as BundleSettings
const start = () => {
  const failures: string[] = []
  return {
    failures,
    keeping: createKeeping(settings, folder, (_name, { message }) => failures.push(message)),
  }
}
const change = (sequence: number, bytes: number): Change =>
  ({
    to: { sequences: { mcp: sequence } },
    brought: new Map([['mcp', { bytes: Buffer.alloc(bytes, sequence) }]]),
  }) as unknown as Change

test('of bundles that come one after the other the last is kept, whole, with its sequence', async () => {
  const { keeping, failures } = start()
  await keeping.begin()
  // The first is the larger one: what takes longer must not come last.
  keeping.keep('mcp', change(1, 20 << 20))
  for (const sequence of [2, 3, 4]) keeping.keep('mcp', change(sequence, 1000))
  await keeping.close()
  expect(failures).toEqual([])
  const next = start().keeping
  await next.begin()
  expect(next.floor('mcp')).toBe(4)
  expect((await next.last('mcp'))?.content).toEqual({ bytes: Buffer.alloc(1000, 4) })
  expect(readdirSync(join(folder, 'bundles/mcp')).sort()).toEqual(['bundle.tar.gz', 'sequence'])
})

test('where the folder cannot be written it is said, and the bundle stays in force', async () => {
  const { keeping, failures } = start()
  await keeping.begin()
  rmSync(folder, { recursive: true })
  writeFileSync(folder, '')
  keeping.keep('mcp', change(1, 10))
  await keeping.close()
  expect(failures).toEqual([expect.stringContaining('could not be kept for the next start')])
  expect(keeping.floor('mcp')).toBe(1)
  rmSync(folder)
  mkdirSync(folder)
})

test('a bundle that could not be replaced is not taken for confirmed, as what its service confirms is another', async () => {
  const { keeping, failures } = start()
  await keeping.begin()
  keeping.keep('mcp', change(1, 10))
  await keeping.close()
  const path = join(folder, 'bundles/mcp/bundle.tar.gz')
  utimesSync(path, 1, 1)
  // What is no file cannot be written as one.
  mkdirSync(`${path}.part`)
  keeping.keep('mcp', change(2, 10))
  keeping.confirm('mcp')
  await keeping.close()
  expect(failures.length).toBe(1)
  const age = async () => (await keeping.last('mcp'))?.age
  expect(await age()).toBeGreaterThan(86_400_000)
  rmSync(`${path}.part`, { recursive: true })
  keeping.keep('mcp', change(3, 10))
  await keeping.close()
  utimesSync(path, 1, 1)
  keeping.confirm('mcp')
  await keeping.close()
  expect(await age()).toBeLessThan(86_400_000)
})
