import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Section } from '../settings.ts'

/** By bundle name: the file. */
export type BundleSettings = Record<string, string>

/** Out of `bundles`, as OPA has it. */
export function readBundles(root: Section): BundleSettings {
  const bundles: BundleSettings = {}
  for (const [name, bundle] of root.named('bundles')) {
    const resource = bundle.string('resource')
    if (/^[a-z]+:\/\//.test(resource) && !resource.startsWith('file://')) {
      bundle.fault('resource', 'must be a file:// URL or a path in this version')
    } else if (resource !== '') {
      const path = resource.startsWith('file://') ? fileURLToPath(resource) : resolve(resource)
      if (existsSync(path)) bundles[name] = path
      else bundle.fault('resource', `there is no file ${path}`)
    }
    bundle.done()
  }
  if (Object.keys(bundles).length === 0 && root.named('bundles').length === 0)
    root.fault('bundles', 'at least one bundle is required')
  return bundles
}
