// Schemas narrowed to what a person may pass: what a real client lists, what it may call, and what the server saw.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { buildPolicy, CAPABILITIES, LIBRARY } from '../../src/edge/bundles/build.ts'
import { opaAt } from '../../src/edge/opa.ts'
import { pinsOf } from '../../src/pdp/pins.ts'
import { opaPath } from '../../tools/opa.ts'
import { createIssuer, people } from '../support/assertions.ts'
import { CLIENTS, type Connected } from '../support/clients.ts'
import { noOpa } from '../support/policy.ts'
import { type Recorder, serving, startRecorder } from '../support/recorder.ts'
import { type Sidecar, startSidecar } from '../support/sidecar.ts'

/** As the server lists it. */
const TOOL = {
  name: 'get_file_contents',
  description: 'Get the contents of a file',
  inputSchema: {
    type: 'object',
    required: ['owner', 'repo'],
    properties: {
      owner: { type: 'string', description: 'Repository owner' },
      repo: { type: 'string' },
      path: { type: 'string', default: '/', maxLength: 4096 },
      limit: { type: 'number', minimum: 1e-7, maximum: 9007199254740991 },
    },
  },
}

const DATA = {
  config: {
    servers: { github: { profile: 'github', narrow: true } },
    pins: { github: pinsOf([TOOL]) },
    grants: [
      {
        id: 'app',
        groups: ['engineering'],
        servers: ['github'],
        toolsets: ['read'],
        repositories: ['acme/app'],
      },
      {
        id: 'library',
        groups: ['maintainers'],
        servers: ['github'],
        tools: ['get_file_contents'],
        repositories: ['acme/lib', 'other/tool'],
      },
      { id: 'all', emails: [people.mona.email], servers: ['github'], toolsets: ['read'] },
    ],
  },
}

describe.skipIf(noOpa)('a schema that data narrows', () => {
  const issuer = createIssuer()
  const open: Connected[] = []
  let folder: string
  let server: Recorder
  let sidecar: Sidecar
  const as = async (claims: Record<string, unknown>) => {
    const [, connect] = CLIENTS[0] ?? []
    if (!connect) throw new Error('no client')
    const client = await connect(sidecar.url, () => issuer.mint(claims))
    open.push(client)
    return client
  }
  const properties = async ({ client }: Connected) => {
    const { tools } = await client.listTools()
    expect(tools).toMatchObject([{ name: TOOL.name, description: TOOL.description }])
    return tools[0]?.inputSchema.properties
  }
  const calls = () => server.requests().filter(({ json }) => json?.method === 'tools/call')

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'narrowed-'))
    await mkdir(join(folder, 'policy'))
    await writeFile(join(folder, 'policy/data.json'), JSON.stringify(DATA))
    await writeFile(join(folder, 'policy/.manifest'), JSON.stringify({ roots: ['config'] }))
    const bundle = join(folder, 'bundle.tar.gz')
    await buildPolicy(opaAt(await opaPath()), {
      folders: [join(folder, 'policy')],
      library: LIBRARY,
      capabilities: CAPABILITIES,
      output: bundle,
      revision: undefined,
      entrypoints: [],
      path: 'mcp/main/decision',
      more: [],
    })
    server = await startRecorder(serving([TOOL], 'read'))
    const config = { bundles: { mcp: { resource: bundle } } }
    sidecar = await startSidecar({ upstream: server.url, jwks: issuer.jwks, config })
  })
  afterAll(async () => {
    for (const client of open) await client.close().catch(() => undefined)
    expect(await sidecar?.stop()).toBe(0)
    await server?.close()
    await rm(folder, { recursive: true, force: true })
  })

  test('lists the repositories of the one grant, and a call elsewhere is denied', async () => {
    const alice = await as(people.alice)
    expect(await properties(alice)).toEqual({
      ...TOOL.inputSchema.properties,
      owner: { ...TOOL.inputSchema.properties.owner, enum: ['acme'] },
      repo: { type: 'string', enum: ['app'] },
    })
    // The definition that was pinned is the server's own, and it is the one that the call is judged with.
    expect(await alice.text(TOOL.name, { owner: 'acme', repo: 'app' })).toBe('read')
    expect(calls()).toHaveLength(1)
    expect(await alice.text(TOOL.name, { owner: 'acme', repo: 'lib' })).toMatch(/repository_not_granted/)
    expect(calls()).toHaveLength(1)
    const [decision] = sidecar.records().filter(({ input }) => input?.method === 'tools/call')
    expect(decision?.input.tool.digest).toBe(pinsOf([TOOL])?.[TOOL.name]?.digest)
  })

  test('lists what several grants give together', async () => {
    const both = await as({ ...people.alice, groups: ['engineering', 'maintainers'] })
    expect(await properties(both)).toMatchObject({
      owner: { enum: ['acme', 'other'] },
      repo: { enum: ['app', 'lib', 'tool'] },
    })
    for (const call of [
      { owner: 'acme', repo: 'lib' },
      { owner: 'other', repo: 'tool' },
    ])
      expect(await both.text(TOOL.name, call)).toBe('read')
    const before = calls().length
    // In the lists, and in none of the grants.
    expect(await both.text(TOOL.name, { owner: 'other', repo: 'app' })).toMatch(/repository_not_granted/)
    expect(calls()).toHaveLength(before)
  })

  test('stays as it is for whom one grant binds to nothing', async () => {
    const mona = await as(people.mona)
    expect(await properties(mona)).toEqual(TOOL.inputSchema.properties)
    expect(await mona.text(TOOL.name, { owner: 'any', repo: 'where' })).toBe('read')
  })
})
