import { resolve } from 'node:path'
import type { Section } from '../settings.ts'
import type { SpoolSettings } from './spool.ts'

export type AuditSettings = {
  buffer: SpoolSettings
  /** whether records are copied to stdout */
  stdout: boolean
}

/** Out of `decision_logs`, as OPA has it, and `plugins.mcp_audit`. */
export function readAudit(root: Section): AuditSettings {
  const logs = root.section('decision_logs')
  if (logs.string('plugin', 'mcp_audit') !== 'mcp_audit') logs.fault('plugin', 'must be mcp_audit')
  for (const key of [
    'service',
    'reporting',
    'console',
    'mask_decision',
    'drop_decision',
    'request_context',
    'partition_name',
    'resource',
  ]) {
    if (logs.has(key)) logs.fault(key, 'OPA has this key; this version does not honour it')
  }
  logs.done()
  const audit = root.section('plugins').section('mcp_audit')
  const buffer = readBuffer(audit.section('buffer'))
  const outputs = audit.list('output')
  for (const output of outputs) {
    output.oneOf('type', ['stdout'] as const, 'stdout')
    output.done()
  }
  audit.done()
  return { buffer, stdout: outputs.length > 0 }
}

const MIB = 1 << 20
const TIB = 2 ** 40

function readBuffer(buffer: Section): SpoolSettings {
  buffer.oneOf('type', ['disk'] as const, 'disk')
  const read: SpoolSettings = {
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
