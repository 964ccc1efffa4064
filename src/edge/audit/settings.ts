import { resolve } from 'node:path'
import type { Section } from '../settings.ts'

export type AuditSettings = {
  /** the folder of the spool */
  path: string
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
  const buffer = audit.section('buffer')
  buffer.oneOf('type', ['disk'] as const, 'disk')
  buffer.oneOf('durability', ['process'] as const, 'process')
  const path = buffer.string('path')
  buffer.done()
  const outputs = audit.list('output')
  for (const output of outputs) {
    output.oneOf('type', ['stdout'] as const, 'stdout')
    output.done()
  }
  audit.done()
  return { path: resolve(path), stdout: outputs.length > 0 }
}
