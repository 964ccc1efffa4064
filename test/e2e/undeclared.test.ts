// Arguments that a tool does not declare, by what its schema says of them and by the switch in data: what a real client
// is told, and what the server saw.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createIssuer, people } from '../support/assertions.ts'
import { CLIENTS, type Connected } from '../support/clients.ts'
import { type Recorder, serving, startRecorder } from '../support/recorder.ts'
import { DEFAULT_BUNDLE, type Sidecar, startSidecar } from '../support/sidecar.ts'

const properties = { owner: { type: 'string' }, repo: { type: 'string' } }
const options = { type: 'object', properties: { page: { type: 'number' } } }
const TOOLS = [
  ['get_commit', { properties, additionalProperties: false }],
  ['list_branches', { properties }],
  ['list_tags', { properties, additionalProperties: true }],
  ['list_issues', { properties: { ...properties, options: { ...options, additionalProperties: false } } }],
  ['list_commits', { properties: { ...properties, options }, additionalProperties: false }],
].map(([name, schema]) => ({ name, inputSchema: { type: 'object', ...(schema as object) } }))

const ACME = { owner: 'acme', repo: 'app' }
const EXTRA = { ...ACME, as: 'admin' }
const NESTED = { ...ACME, options: { page: 1, as: 'admin' } }

describe.each([
  ['as it comes', undefined, ['list_branches', 'list_tags', 'list_commits']],
  ['where data wants arguments declared', { declared_only: true }, []],
])('the library %s', (_, config, passing) => {
  const issuer = createIssuer()
  let folder: string
  let server: Recorder
  let sidecar: Sidecar
  let alice: Connected
  const called = () => server.requests().filter(({ json }) => json?.method === 'tools/call').length

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'undeclared-'))
    const data = join(folder, 'switch')
    await mkdir(data)
    await writeFile(join(data, 'data.json'), JSON.stringify({ config }))
    await writeFile(join(data, '.manifest'), JSON.stringify({ roots: ['config/declared_only'] }))
    server = await startRecorder(serving(TOOLS, 'done'))
    const bundles = { mcp: { resource: DEFAULT_BUNDLE }, ...(config && { switch: { resource: data } }) }
    sidecar = await startSidecar({ upstream: server.url, jwks: issuer.jwks, config: { bundles } })
    const [, connect] = CLIENTS[0] ?? []
    if (!connect) throw new Error('no client')
    alice = await connect(sidecar.url, () => issuer.mint(people.alice))
  })
  afterAll(async () => {
    await alice?.close().catch(() => undefined)
    expect(await sidecar?.stop()).toBe(0)
    await server?.close()
    await rm(folder, { recursive: true, force: true })
  })

  test('takes what is not known for what it is', async () => {
    // No list was sent yet.
    expect(await alice.text('get_commit', EXTRA)).toMatch(config ? /declaration_unknown/ : /^done$/)
    expect(called()).toBe(config ? 0 : 1)
  })

  test.each([
    ['get_commit', EXTRA],
    ['list_branches', EXTRA],
    ['list_tags', EXTRA],
    ['list_issues', NESTED],
    ['list_commits', NESTED],
  ])('decides on an argument that %s does not declare', async (tool, args) => {
    await alice.names()
    const before = called()
    const passes = (passing as string[]).includes(tool)
    expect(await alice.text(tool, args)).toMatch(passes ? /^done$/ : /undeclared_arguments/)
    expect(called()).toBe(before + (passes ? 1 : 0))
    const decision = sidecar.records().findLast(({ input }) => input?.tool?.name === tool)
    expect(decision?.input.undeclared_arguments).toEqual([args === EXTRA ? '/as' : '/options/as'])
    expect(decision?.input.tool.closed).toBe(['get_commit', 'list_issues'].includes(tool))
    // What is declared passes with either.
    expect(await alice.text(tool, ACME)).toBe('done')
  })
})
