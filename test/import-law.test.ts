import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { expect, test } from 'vitest'

/** A file imports from its own layer or one to its left; only the right half may import what is not ours. */
const LAYERS = ['mcp', 'pdp', 'log', 'pep', 'edge', 'config.ts', 'commands', 'main.ts']
const WORLDLY = new Set(['edge', 'config.ts', 'commands', 'main.ts'])
const src = resolve(import.meta.dirname, '../src')
const layerOf = (path: string) => LAYERS.indexOf(relative(src, path).split('/')[0] ?? '')
const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))
const imports = (file: string) =>
  [...readFileSync(join(src, file), 'utf8').matchAll(/from '([^']+)'|import\('([^']+)'\)/g)].map(
    (match) => match[1] ?? match[2] ?? '',
  )

test.each(files)('%s imports only to its left', (file) => {
  const path = join(src, file)
  const layer = layerOf(path)
  expect(layer, 'a folder that is not in the law').toBeGreaterThanOrEqual(0)
  for (const target of imports(file)) {
    if (target.startsWith('.'))
      expect(layerOf(resolve(dirname(path), target)), target).toBeLessThanOrEqual(layer)
    else if (target !== 'node:crypto') expect(WORLDLY.has(LAYERS[layer] as string), target).toBe(true)
  }
})

test('main.ts is the only reader of the process', () => {
  for (const file of files.filter((name) => name !== 'main.ts')) {
    const text = readFileSync(join(src, file), 'utf8')
    expect(text.match(/\bprocess\.(env|argv|exit|stdin|stdout|stderr|on)\b/g), file).toBeNull()
  }
})

test('no file has a name that says nothing', () => {
  for (const file of files)
    expect(file).not.toMatch(/(^|\/)(index|utils?|types|helpers?|manager|common|misc)\.ts$/)
})
