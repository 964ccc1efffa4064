import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { readSigningKey } from '../../log/note.ts'
import type { Service } from '../services/settings.ts'
import type { Section } from '../settings.ts'
import type { CheckpointKey } from './checkpoint.ts'
import { type Output, readOutputs } from './sinks/settings.ts'
import type { SpoolSettings } from './spool.ts'

export type AuditSettings = {
  buffer: SpoolSettings
  outputs: Output[]
  /** undefined: checkpoints are not signed */
  checkpoint: CheckpointKey | undefined
  /** identities are recorded as pseudonyms under it; undefined: as they are */
  identityKey: Uint8Array | undefined
  /** milliseconds that sinks have at the end for what is there */
  grace: number
}

/** Out of `decision_logs`, as OPA has it, and `plugins.mcp_audit`. */
export function readAudit(root: Section, services: Record<string, Service>): AuditSettings {
  const logs = root.section('decision_logs')
  if (logs.string('plugin', 'mcp_audit') !== 'mcp_audit') logs.fault('plugin', 'must be mcp_audit')
  // They are always asked, under OPA's default names.
  for (const [key, name] of [
    ['mask_decision', 'system/log/mask'],
    ['drop_decision', 'system/log/drop'],
  ] as const)
    if (logs.string(key, name).replace(/^\//, '') !== name) logs.fault(key, `must be /${name}`)
  for (const key of ['console', 'request_context', 'partition_name'])
    if (logs.has(key)) logs.fault(key, 'OPA has this key; this version does not honour it')
  const audit = root.section('plugins').section('mcp_audit')
  const checkpoints = audit.section('checkpoint')
  const checkpoint = readCheckpoint(checkpoints)
  const every = checkpoints.duration('interval', '10s', '1s', '24h')
  checkpoints.done()
  const buffer = { ...readBuffer(audit.section('buffer')), checkpointEvery: every }
  const outputs = readOutputs(audit, logs, services)
  logs.done()
  const identityKey = readIdentities(audit)
  const grace = audit.duration('shutdown_grace_period', '3s', '0s', '10m')
  audit.done()
  return { buffer, outputs, checkpoint, identityKey, grace }
}

function readIdentities(audit: Section): Uint8Array | undefined {
  const form = audit.oneOf('identities', ['plain', 'pseudonymous'] as const, 'plain')
  const key = audit.optional('identity_key')
  if ((form === 'pseudonymous') !== (key !== undefined))
    audit.fault(
      'identity_key',
      'goes with identities: pseudonymous, and only with it; keep it: it tells who is who',
    )
  if (key !== undefined && key.length < 16) audit.fault('identity_key', 'must have 16 characters or more')
  return form === 'pseudonymous' && key !== undefined ? Buffer.from(key) : undefined
}

function readCheckpoint(section: Section): AuditSettings['checkpoint'] {
  const [inline, path] = [section.optional('key'), section.optional('key_file')]
  const origin = section.string('origin', 'mcp-opa-sidecar')
  if (!/^[^\s+]{1,200}$/.test(origin)) section.fault('origin', 'must have no spaces and no plus sign')
  if (inline !== undefined && path !== undefined) section.fault('key', 'goes with no key_file beside it')
  let text = inline
  try {
    if (path !== undefined) text = readFileSync(path, 'utf8')
  } catch (error) {
    section.fault('key_file', (error as Error).message)
    return undefined
  }
  if (text === undefined) return undefined
  const key = readSigningKey(text)
  if (key) return { key, origin }
  section.fault(
    path === undefined ? 'key' : 'key_file',
    'must be an Ed25519 private key in PEM, e.g. of: openssl genpkey -algorithm ed25519',
  )
  return undefined
}

const MIB = 1 << 20
const TIB = 2 ** 40

function readBuffer(buffer: Section): Omit<SpoolSettings, 'checkpointEvery'> {
  buffer.oneOf('type', ['disk'] as const, 'disk')
  const read = {
    folder: resolve(buffer.string('path')),
    durability: buffer.oneOf('durability', ['process', 'disk'] as const, 'process'),
    maxBytes: buffer.integer('max_bytes', 1024 * MIB, MIB, TIB),
    segmentBytes: buffer.integer('segment_bytes', 64 * MIB, 64 << 10, 4096 * MIB),
    segmentAge: buffer.duration('segment_age', '1h', '1s', '720h'),
    maxAge: buffer.duration('max_age', '168h', '1s', '87600h'),
    reserveBytes: buffer.integer('reserve_bytes', MIB, 0, 1024 * MIB),
    whenFull: buffer.oneOf('when_full', ['refuse', 'drop_oldest'] as const, 'refuse'),
  }
  if (read.segmentBytes * 2 + read.reserveBytes > read.maxBytes)
    buffer.fault(
      'max_bytes',
      'must hold two segments (segment_bytes) and the reserve (reserve_bytes) at least',
    )
  buffer.done()
  return read
}
