import { createHash } from 'node:crypto'
import { type Json, type JsonObject, parseStrictBytes } from '../../mcp/strict-json.ts'
import { isMap } from '../settings.ts'
import { type Answer, one, readWhole } from './bundle-service.ts'
import { BundleError } from './failure.ts'
import type { Registry } from './registry.ts'

/** `registry/repository:tag` or `…@sha256:…`, as OPA's `resource` has it; the registry that is asked is the service. */
export type Reference = { repository: string; reference: string }

/** A digest goes before a tag where both are there. */
export function readReference(resource: string): Reference | undefined {
  const match =
    /^[^/@]+\/([a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*)(?::([A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(.+))?$/.exec(
      resource,
    )
  const [, repository = '', tag, digest] = match ?? []
  if (digest !== undefined && !DIGEST.test(digest)) return undefined
  const reference = digest ?? tag
  return reference === undefined || repository.length > 255 ? undefined : { repository, reference }
}

const DIGEST = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/
/** As the specification asks registries to hold it. */
const MANIFEST_BYTES = 4 << 20
const DEPTH = 4
/** Manifests that are looked at for one bundle. */
const MANIFESTS = 32

const MANIFESTS_OF_ONE = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
]
const INDEXES = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
]
/** OPA takes the first; the second is what OPA's own media types call it. */
const LAYERS = [
  'application/vnd.oci.image.layer.v1.tar+gzip',
  'application/vnd.openpolicyagent.layer.v1.tar+gzip',
]

type Descriptor = { digest: string; size: number }

/**
 * The bundle of a manifest, or of the first in an index that has one (OPA docs, "OCI Registry"). What is fetched by digest
 * has that digest and size.
 * @param etag the digest of the manifest that was there last
 * @throws BundleError, and what the network says
 */
export async function pull(
  name: string,
  { reference }: Reference,
  registry: Registry,
  { etag, most, signal }: { etag: string | undefined; most: number; signal: AbortSignal },
): Promise<Answer> {
  const no = (text: string) => new BundleError('malformed', `bundle ${name}: ${text}`)
  const accept = [...MANIFESTS_OF_ONE, ...INDEXES].join(', ')

  const manifestOf = async (which: string): Promise<{ digest: string; manifest: JsonObject }> => {
    const { headers, body } = await registry.ask('GET', `manifests/${which}`, accept, signal)
    const bytes = await readWhole(name, headers, body, MANIFEST_BYTES, 'of a manifest')
    const told = DIGEST.test(which) ? which : one(headers['docker-content-digest'])
    if (told !== undefined && !matches(bytes, told)) throw no(`manifest ${which} has not the digest ${told}`)
    const read = parseStrictBytes(bytes, { bytes: MANIFEST_BYTES, depth: 32, keys: 50_000, string: 1 << 20 })
    if (!read.ok || !isMap(read.value)) throw no(`manifest ${which} is not one`)
    return { digest: told ?? `sha256:${sha('sha256', bytes)}`, manifest: read.value as JsonObject }
  }

  const seen = new Set<string>()
  const layerIn = async (manifest: JsonObject, depth: number): Promise<Descriptor | undefined> => {
    if (Array.isArray(manifest.layers)) {
      const found = objects(manifest.layers).filter(({ mediaType }) => LAYERS.includes(String(mediaType)))
      if (found.length > 1) throw no(`the image has ${found.length} layers that could be the bundle`)
      return found[0] && descriptor(found[0])
    }
    if (!Array.isArray(manifest.manifests)) throw no('the manifest has no layers')
    if (depth === DEPTH) throw no(`the image index is nested more than ${DEPTH} levels deep`)
    for (const entry of objects(manifest.manifests)) {
      // Provenance and SBOM, which build tools attach.
      const { platform } = entry
      if (isMap(platform) && platform.os === 'unknown' && platform.architecture === 'unknown') continue
      const { digest } = descriptor(entry)
      if (seen.has(digest)) continue
      seen.add(digest)
      if (seen.size > MANIFESTS) throw no(`the image index names more than ${MANIFESTS} manifests`)
      const layer = await layerIn((await manifestOf(digest)).manifest, depth + 1)
      if (layer) return layer
    }
    return undefined
  }
  const descriptor = ({ digest, size }: JsonObject): Descriptor => {
    if (
      typeof digest === 'string' &&
      DIGEST.test(digest) &&
      Number.isSafeInteger(size) &&
      (size as number) >= 0
    )
      return { digest, size: size as number }
    throw no('the manifest names something without a digest or a size')
  }

  if (etag !== undefined) {
    const { headers, body } = await registry.ask('HEAD', `manifests/${reference}`, accept, signal)
    body.destroy()
    if (one(headers['docker-content-digest']) === etag) return { bytes: undefined, etag, waits: false }
  }
  const { digest, manifest } = await manifestOf(reference)
  const layer = await layerIn(manifest, 0)
  if (!layer) throw no(`the image has no layer of type ${LAYERS.join(' or ')}`)
  if (layer.size > most)
    throw new BundleError(
      'too_large',
      `bundle ${name}: the layer has more than ${most} bytes (size_limit_bytes)`,
    )
  const { headers, body } = await registry.ask('GET', `blobs/${layer.digest}`, '*/*', signal)
  const bytes = await readWhole(name, headers, body, layer.size, 'as its manifest says')
  if (bytes.length !== layer.size || !matches(bytes, layer.digest))
    throw no(`the layer has not the digest ${layer.digest}`)
  return { bytes, etag: digest, waits: false }
}

const objects = (list: Json[]): JsonObject[] => list.filter((item): item is JsonObject => isMap(item))

const sha = (algorithm: string, bytes: Uint8Array): string =>
  createHash(algorithm).update(bytes).digest('hex')

function matches(bytes: Uint8Array, digest: string): boolean {
  const [algorithm = '', hex] = digest.split(':')
  return DIGEST.test(digest) && sha(algorithm, bytes) === hex
}
