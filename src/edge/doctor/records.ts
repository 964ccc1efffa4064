import { existsSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { linesOfLog } from '../audit/segments.ts'
import { type Finding, fault, fine, note } from './finding.ts'

/** Whether the record can be written where it should be. */
export function examineSpool(folder: string, maxBytes: number): Finding[] {
  const todo = `make ${folder} writable for the user of the sidecar (65532 in the image), on a volume of its own`
  let at = folder
  while (!existsSync(at)) at = dirname(at)
  try {
    // To ask for the rights is not enough: a folder may be writable and take no file.
    const probe = mkdtempSync(join(at, '.doctor-'))
    writeFileSync(join(probe, 'probe'), 'x')
    rmSync(probe, { recursive: true })
  } catch (error) {
    return [fault('record', (error as Error).message, todo)]
  }
  const { bavail, bsize } = statfsSync(at)
  const free = bavail * bsize
  if (free < maxBytes)
    return [
      note(
        'record',
        `${folder} has ${Math.floor(free / 2 ** 20)} MiB left, and buffer.max_bytes is ${Math.floor(maxBytes / 2 ** 20)} MiB`,
        'make it larger or lower max_bytes: a full disk answers allowed calls with 503',
      ),
    ]
  return [fine('record', `${folder} can be written`)]
}

/** By cause: what such a refusal most often comes from. */
const CAUSES: Record<string, string> = {
  assertion_missing:
    'set pass_identity_headers: true on the route in Pomerium; or somebody who is not Pomerium reaches the sidecar',
  assertion_issuer:
    'plugins.mcp.identity.issuer must be the host of the route, without a port (or https://host/ with jwt_issuer_format: uri); or an assertion of another route, which leads to this sidecar, came here',
  assertion_audience:
    'plugins.mcp.identity.audience must be the host of the route: an assertion of another route came here',
  assertion_unknown_key: 'the keys are of another Pomerium: mend plugins.mcp.identity.jwks_url',
  assertion_signature: 'the keys are of another Pomerium, or somebody forges assertions: look at who called',
  assertion_expired: 'set the clocks of Pomerium and of this machine by NTP',
  assertion_not_yet_valid: 'set the clocks of Pomerium and of this machine by NTP',
  assertion_subject_empty:
    'the route allows public access: take allow_public_unauthenticated_access off and give it a policy',
  keys_unavailable: 'let the sidecar reach plugins.mcp.identity.jwks_url',
}
const LAST = 10_000

/** What the record says of the traffic: refusals before there was an identity, of the last lines. */
export function examineTraffic(folder: string): Finding[] {
  if (!existsSync(folder)) return []
  const counts = new Map<string, { count: number; last: string }>()
  const recent: string[] = []
  for (const { line } of linesOfLog(folder)) {
    const text = line.toString('utf8')
    if (!text.includes('"reject"') && !text.includes('"repeat"')) continue
    recent.push(text)
    if (recent.length > LAST) recent.shift()
  }
  for (const text of recent) {
    let event: { timestamp?: string; custom?: { cause?: { code?: string }; count?: number } }
    try {
      event = JSON.parse(text)
    } catch {
      continue
    }
    const code = event.custom?.cause?.code
    if (code === undefined || !(code in CAUSES)) continue
    const count = (counts.get(code)?.count ?? 0) + (event.custom?.count ?? 1)
    counts.set(code, { count, last: event.timestamp ?? '' })
  }
  return [...counts].map(([code, { count, last }]) =>
    fault('traffic', `${count} refused with ${code}, the last at ${last}`, CAUSES[code] as string),
  )
}
