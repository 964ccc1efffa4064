import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Section } from '../settings.ts'
import { ARCHIVE_LIMITS, type ArchiveLimits } from './archive.ts'

/** Where a bundle comes from. */
export type BundleSource = { kind: 'file'; path: string; limits: ArchiveLimits }

/** By bundle name. */
export type BundleSettings = Record<string, BundleSource>

/** Out of `bundles`, as OPA has it. */
export function readBundles(root: Section): BundleSettings {
  const bundles: BundleSettings = {}
  for (const [name, bundle] of root.named('bundles')) {
    const resource = bundle.string('resource')
    const limits = {
      ...ARCHIVE_LIMITS,
      bytes: bundle.integer('size_limit_bytes', ARCHIVE_LIMITS.bytes, 1024, 1 << 30),
    }
    if (/^[a-z]+:\/\//.test(resource) && !resource.startsWith('file://')) {
      bundle.fault('resource', 'must be a file:// URL or a path in this version')
    } else if (resource !== '') {
      const path = resource.startsWith('file://') ? fileURLToPath(resource) : resolve(resource)
      if (existsSync(path)) bundles[name] = { kind: 'file', path, limits }
      else bundle.fault('resource', `there is no file ${path}`)
    }
    bundle.done()
  }
  if (Object.keys(bundles).length === 0 && root.named('bundles').length === 0)
    root.fault('bundles', 'at least one bundle is required')
  return bundles
}
