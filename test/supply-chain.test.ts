import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const read = (name: string) => readFileSync(fileURLToPath(new URL(`../${name}`, import.meta.url)), 'utf8')
type Locked = {
  version?: string
  integrity?: string
  resolved?: string
  dev?: boolean
  optional?: boolean
  devOptional?: boolean
  link?: boolean
  hasInstallScript?: boolean
  dependencies?: Record<string, string>
}
const lock = JSON.parse(read('package-lock.json')) as {
  lockfileVersion: number
  packages: Record<string, Locked>
}
const manifest = JSON.parse(read('package.json')) as Record<string, Record<string, string>>
const packages = Object.entries(lock.packages).filter(([path]) => path !== '')
const production = packages.filter(([, locked]) => !locked.dev && !locked.devOptional)

test('every version is exact', () => {
  for (const section of ['dependencies', 'devDependencies', 'optionalDependencies'])
    for (const [name, version] of Object.entries(manifest[section] ?? {}))
      expect(version, name).toMatch(/^(npm:@?[\w./-]+@)?\d+\.\d+\.\d+(-[\w.]+)?$/)
})

test('every package is locked by its hash, and comes from a registry', () => {
  expect(packages.length).toBeGreaterThan(50)
  for (const [path, { integrity, resolved, link }] of packages) {
    expect(link, path).toBeUndefined()
    expect(integrity, path).toMatch(/^sha512-/)
    expect(resolved ?? 'https://', path).toMatch(/^https:\/\//)
  }
})

test('nothing that runs in production has an install script', () => {
  expect(production.length).toBeGreaterThan(5)
  const scripts = ['preinstall', 'install', 'postinstall']
  for (const [path, locked] of production) {
    expect(locked.hasInstallScript, path).toBeUndefined()
    if (!existsSync(fileURLToPath(new URL(`../${path}/package.json`, import.meta.url)))) continue
    const own = JSON.parse(read(`${path}/package.json`)) as { scripts?: Record<string, string> }
    expect(
      scripts.filter((name) => own.scripts?.[name] !== undefined),
      path,
    ).toEqual([])
  }
})

test('there are few, and the README names those that are chosen', () => {
  const chosen = Object.keys(manifest.dependencies ?? {})
  expect(chosen.length).toBeLessThanOrEqual(12)
  const readme = read('README.md')
  for (const name of chosen) expect(readme).toContain(`\`${name}\``)
  expect(production.length).toBeLessThan(60)
})
