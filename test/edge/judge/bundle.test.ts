import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { extract, pack } from 'tar-stream'
import { afterAll, describe, expect, test } from 'vitest'
import { loadPolicyFiles } from '../../../src/edge/judge/bundle.ts'
import { buildBundle, mainPolicy, noOpa } from '../../support/policy.ts'

const folder = await mkdtemp(join(tmpdir(), 'mcp-bundle-'))
afterAll(() => rm(folder, { recursive: true }))
const DEFAULT = 'bundles/default.tar.gz'
const PATH = 'mcp/main/decision'
const load = (files: Record<string, string>) => loadPolicyFiles(files, PATH)

type Entry = {
  name: string
  type?: 'file' | 'symlink' | 'link' | 'directory' | 'character-device'
  linkname?: string
  text?: string
}
let n = 0
async function archive(entries: Entry[]): Promise<string> {
  const tar = pack()
  for (const { text = '', ...header } of entries) tar.entry(header, text)
  tar.finalize()
  const parts: Buffer[] = []
  for await (const chunk of tar) parts.push(chunk as Buffer)
  const path = join(folder, `b${++n}.tar.gz`)
  await writeFile(path, gzipSync(Buffer.concat(parts)))
  return path
}
const manifest = (roots: string[]): Entry => ({ name: '.manifest', text: JSON.stringify({ roots }) })

/** The value, below these keys. */
const at = (keys: string[], value: unknown): unknown =>
  keys.reduceRight<unknown>((inner, key) => ({ [key]: inner }), value)

describe('the default bundle', () => {
  test('loads, with its revision and digests', async () => {
    const policy = await load({ mcp: DEFAULT })
    expect(policy.revisions.mcp?.revision).toMatch(/^sha256:/)
    expect(policy.digests.policy).toMatch(/^sha256:[0-9a-f]{64}$/)
  })

  const beside: [what: string, config: Record<string, unknown>][] = [
    ['stops everything', { stop: true }],
    ['only reads', { read_only: true }],
    ['enforces nothing', { dry_run: 'all' }],
    ['enforces some', { dry_run: ['read_only', 'tool_banned'] }],
    ['pins tools', { pins: { github: {} } }],
    ['bans tools', { banned: { github: ['get_me'] } }],
    ['wants arguments declared', { declared_only: true }],
    ['says that a canary is in a group', { directory: { canary: { groups: ['maintainers'] } } }],
    ['has canaries', { 'canaries/mine': { allow: false, input: { server: 'x', identity: {} } } }],
  ]
  test.each(beside)('has canaries that hold where data beside it %s', async (_, config) => {
    const [[path = '', value] = []] = Object.entries(config)
    const data = await archive([
      manifest([`config/${path}`]),
      { name: '/config/data.json', text: JSON.stringify(at(path.split('/'), value)) },
    ])
    const { canaries } = JSON.parse((await load({ mcp: DEFAULT, data })).data).config
    const answers = Object.values(canaries as Record<string, { allow: boolean }>).map(({ allow }) => allow)
    expect(answers).toContain(true)
    expect(answers).toContain(false)
  })

  test.skipIf(noOpa)('has canaries that a policy which allows all, or nothing, does not pass', async () => {
    const { canaries } = JSON.parse((await load({ mcp: DEFAULT })).data).config
    for (const [allow, says] of [
      [true, 'canary "default-answer" must be denied and is allowed'],
      [false, 'canary "default-end" must be allowed and is denied'],
    ] as const) {
      const rules = mainPolicy(`answer := {"allow": ${allow}}`)
      const { path, dispose } = await buildBundle({
        'main.rego': rules,
        'data.json': JSON.stringify({ config: { canaries } }),
      })
      await expect(load({ mcp: path })).rejects.toThrow(says)
      await dispose()
    }
  })

  test('takes data of a second bundle with roots of its own', async () => {
    const data = await archive([
      manifest(['directory']),
      { name: '/directory/data.json', text: '{"users":{"a":1}}' },
    ])
    expect(JSON.parse((await load({ mcp: DEFAULT, directory: data })).data).directory).toEqual({
      users: { a: 1 },
    })
  })
})

test('a module that was stripped after `opa build` is refused, and it is said why', async () => {
  const tar = pack()
  const reader = extract()
  reader.end(gunzipSync(await readFile(DEFAULT)))
  for await (const entry of reader) {
    const parts: Buffer[] = []
    for await (const part of entry) parts.push(part as Buffer)
    const bytes = Buffer.concat(parts)
    const { name } = entry.header
    tar.entry({ name }, name.endsWith('policy.wasm') ? withoutNames(bytes) : bytes)
  }
  tar.finalize()
  const parts: Buffer[] = []
  for await (const chunk of tar) parts.push(chunk as Buffer)
  const path = join(folder, 'stripped.tar.gz')
  await writeFile(path, gzipSync(Buffer.concat(parts)))
  await expect(load({ mcp: path })).rejects.toMatchObject({
    code: 'wasm',
    message: expect.stringContaining('its functions have no names: it was stripped after `opa build`'),
  })
})

/** A module less its custom sections: those of number 0. */
function withoutNames(bytes: Buffer): Buffer {
  const parts = [bytes.subarray(0, 8)]
  for (let at = 8; at < bytes.length; ) {
    const from = at
    let size = 0
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[++at] as number
      size += (byte & 127) * 2 ** shift
      if (byte < 128) break
    }
    at += 1 + size
    if (bytes[from] !== 0) parts.push(bytes.subarray(from, at))
  }
  return Buffer.concat(parts)
}

describe('a bundle is refused, and nothing is written, for', () => {
  const data = (entries: Entry[]) => archive(entries).then((path) => load({ mcp: DEFAULT, extra: path }))
  test.each([
    ['overlapping roots', [manifest(['config/grants/x'])], /both own the root/],
    ['no roots, which owns everything', [{ name: '.manifest', text: '{}' }], /both own the root/],
    [
      'data outside its roots',
      [manifest(['mine']), { name: 'other/data.json', text: '{"a":1}' }],
      /outside the roots/,
    ],
    [
      'a symbolic link',
      [manifest(['mine']), { name: 'mine/data.json', type: 'symlink', linkname: '/etc/passwd' }],
      /not a file/,
    ],
    [
      'a hard link',
      [manifest(['mine']), { name: 'mine/data.json', type: 'link', linkname: 'x' }],
      /not a file/,
    ],
    ['a name that climbs', [{ name: '../x/data.json', text: '{}' }], /is refused/],
    ['a name that pollutes', [{ name: '__proto__/data.json', text: '{"a":1}' }], /is refused/],
    [
      'two files of one name',
      [manifest(['mine']), { name: 'mine/data.json', text: '{}' }, { name: 'mine/data.json', text: '{}' }],
      /is refused/,
    ],
    [
      'data that is no object',
      [manifest(['mine']), { name: 'mine/data.json', text: '[]' }],
      /not a JSON object/,
    ],
    [
      'data with a key twice',
      [manifest(['mine']), { name: 'mine/data.json', text: '{"a":1,"a":2}' }],
      /not a JSON object/,
    ],
  ] as [string, Entry[], RegExp][])('%s', async (_name, entries, says) => {
    await expect(data(entries).then((policy) => Object.keys(policy))).rejects.toThrow(says)
  })

  test('a truncated archive', async () => {
    const bytes = await readFile(DEFAULT)
    const path = join(folder, 'cut.tar.gz')
    await writeFile(path, bytes.subarray(0, bytes.length / 2))
    await expect(load({ mcp: path })).rejects.toThrow(/not a gzipped tar/)
  })

  test('a flipped byte of policy.wasm', async () => {
    const tar = gunzipSync(await readFile(DEFAULT))
    const at = tar.indexOf(Buffer.from('\0asm'))
    tar[at] = 1
    const path = join(folder, 'flipped.tar.gz')
    await writeFile(path, gzipSync(tar))
    await expect(load({ mcp: path })).rejects.toThrow(/does not load/)
  })

  test('no policy.wasm, and two of them', async () => {
    const none = await archive([manifest(['mine'])])
    await expect(load({ mcp: none })).rejects.toThrow(/exactly one bundle/)
    await expect(load({ a: DEFAULT, b: DEFAULT })).rejects.toThrow(/exactly one bundle/)
  })

  test('a file that is not there', async () => {
    await expect(load({ mcp: join(folder, 'none') })).rejects.toThrow(/ENOENT/)
  })
})

describe.skipIf(noOpa)('a built bundle is refused for', () => {
  test.each([
    ['another contract', mainPolicy('default answer := {}', 2), /speaks contract 2/],
    [
      'no contract',
      mainPolicy('default answer := {}').replace(/# custom:\n# {3}contract: 1\n/, ''),
      /speaks contract null/,
    ],
    [
      'a missing entrypoint',
      mainPolicy('default answer := {}').replace('visible :=', 'seen :='),
      /no entrypoint mcp\/main\/visible/,
    ],
    [
      'a builtin that this host lacks',
      mainPolicy('answer := {"custom": {"t": opa.runtime()}}'),
      /does not have: opa.runtime/,
    ],
    [
      'a builtin that reaches into the network',
      mainPolicy('answer := {"custom": {"t": net.lookup_ip_addr(input.method)}}'),
      /does not have: net.lookup_ip_addr/,
    ],
  ])('%s', async (_name, policy, says) => {
    const bundle = await buildBundle({ 'mcp/main/main.rego': policy })
    await expect(load({ mcp: bundle.path })).rejects.toThrow(says)
    await bundle.dispose()
  })
})
