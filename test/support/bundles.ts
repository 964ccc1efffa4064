import { gzipSync } from 'node:zlib'
import { pack } from 'tar-stream'
import { mainPolicy } from './policy.ts'

export type Entry = {
  name: string
  type?: 'file' | 'symlink' | 'link' | 'directory' | 'character-device'
  linkname?: string
  text?: string | Buffer
}

/** A gzipped tar of these entries, as they are. */
export async function tarball(entries: Entry[]): Promise<Buffer> {
  const tar = pack()
  for (const { text = '', ...header } of entries) tar.entry(header, text)
  tar.finalize()
  const parts: Buffer[] = []
  for await (const chunk of tar) parts.push(chunk as Buffer)
  return gzipSync(Buffer.concat(parts))
}

/** A bundle with data only. */
export const dataBundle = (roots: string[], data: object, manifest: object = {}): Promise<Buffer> =>
  tarball([
    { name: '/.manifest', text: JSON.stringify({ roots, ...manifest }) },
    { name: '/data.json', text: JSON.stringify(data) },
  ])

/** A policy that allows the tools in `data.config.allowed`, and says in a reason what it is. */
export const allowing = (mark: string): string =>
  mainPolicy(`
default answer := {"reasons": [{"code": "${mark}", "title": "${mark}"}]}
answer := {"allow": true, "reasons": [{"code": "${mark}", "title": "${mark}"}]} if {
  input.tool.name in data.config.allowed
}`)
