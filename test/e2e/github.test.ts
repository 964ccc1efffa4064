// The real GitHub MCP server, started by the sidecar over stdio, before a strict fake of GitHub's REST routes. The
// oracle is that fake: what is denied makes no request at all.
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createIssuer, people } from '../support/assertions.ts'
import { CLIENTS, type Connected } from '../support/clients.ts'
import { githubArgs, githubEnv, githubServer } from '../support/github-binary.ts'
import { startGithubRest } from '../support/github-rest.ts'
import { type Sidecar, startSidecar } from '../support/sidecar.ts'

const binary = await githubServer()
if (!binary.ok) console.warn(`SKIPPED: no real GitHub MCP server in these tests: ${binary.why}`)

const token = 'a-token-of-the-tests'
const acme = { owner: 'acme', repo: 'app' }
const file = (path: string, branch: string) => ({ path, branch, message: 'm', content: 'x' })
const push = (branch: string, path: string) => ({ branch, message: 'm', files: [{ path, content: 'x' }] })
const PULL = { pullNumber: 7 }

/** Roads to a merge, or to main, for one who may propose and not merge. */
const ROADS: [what: string, tool: string, args: Record<string, unknown>][] = [
  ['merging', 'merge_pull_request', PULL],
  ['merging in another case', 'merge_pull_request', { ...PULL, owner: 'ACME', repo: 'App' }],
  ['pushing to main', 'push_files', push('main', 'src/a.txt')],
  ['pushing to main by its whole name', 'push_files', push('refs/heads/main', 'src/a.txt')],
  ['pushing to main by half its name', 'push_files', push('heads/main', 'src/a.txt')],
  ['writing to main', 'create_or_update_file', file('src/a.txt', 'main')],
  ['deleting on main', 'delete_file', { path: 'src/app.txt', branch: 'main', message: 'm' }],
  ['pushing a workflow', 'push_files', push('feature/x', '.github/workflows/x.yml')],
  ['pushing a workflow in another case', 'push_files', push('feature/x', '.GitHub/workflows/x.yml')],
  [
    'pushing a workflow behind a harmless file',
    'push_files',
    {
      branch: 'feature/x',
      message: 'm',
      files: [
        { path: 'a', content: '' },
        { path: '.github/workflows/x.yml', content: '' },
      ],
    },
  ],
  [
    'writing a workflow by a detour',
    'create_or_update_file',
    file('src/../.github/workflows/x.yml', 'feature/x'),
  ],
  ['merging by the path of a file', 'create_or_update_file', file('../pulls/7/merge', 'feature/x')],
  [
    'merging by the name of a repository',
    'create_branch',
    { repo: 'app/pulls/7/merge?', branch: 'feature/y' },
  ],
  ['reaching the repository by a detour', 'get_pull_request', { owner: 'mine/sandbox/../../acme', ...PULL }],
  ['a number that is none', 'update_pull_request', { pullNumber: 7.5, title: 'x' }],
  ['approving', 'create_and_submit_pull_request_review', { ...PULL, event: 'APPROVE', body: 'ok' }],
  ['approving a pending review', 'submit_pending_pull_request_review', { ...PULL, event: 'APPROVE' }],
  ['changing the base', 'update_pull_request', { ...PULL, base: 'production' }],
  ['merging main’s way round', 'update_pull_request_branch', PULL],
  ['running a workflow', 'run_workflow', { workflow_id: 'ci.yml', ref: 'main' }],
  ['making a protected branch', 'create_branch', { branch: 'main', from_branch: 'feature' }],
  ['another repository', 'create_branch', { owner: 'other', branch: 'feature/x' }],
  ['forking', 'fork_repository', {}],
  ['a new repository', 'create_repository', { name: 'x' }],
  ['handing the work to another agent', 'assign_copilot_to_issue', { issueNumber: 1 }],
  ['an argument in another case', 'merge_pull_request', { ...PULL, Owner: 'acme' }],
]

describe.skipIf(!binary.ok)('before the real GitHub MCP server', () => {
  const issuer = createIssuer()
  let github: Awaited<ReturnType<typeof startGithubRest>>
  let sidecar: Sidecar
  const open: Connected[] = []
  const as = async (person: keyof typeof people) => {
    const [, connect] = CLIENTS[0] ?? []
    if (!connect) throw new Error('no client')
    const client = await connect(sidecar.url, () => issuer.mint(people[person]))
    open.push(client)
    return client
  }

  beforeEach(async () => {
    github = await startGithubRest({ token })
    const upstream = {
      url: null,
      command: [binary.ok ? binary.path : '', ...githubArgs],
      env: githubEnv(github.url, token),
    }
    sidecar = await startSidecar({ jwks: issuer.jwks, config: { plugins: { mcp: { upstream } } } })
  })
  afterEach(async () => {
    for (const client of open.splice(0)) await client.close().catch(() => undefined)
    expect(await sidecar.stop()).toBe(0)
    expect(sidecar.spool()).not.toContain(token)
    await github.close()
  })

  test('alice works on a branch and opens a pull request', async () => {
    const alice = await as('alice')
    for (const [tool, args] of [
      ['create_branch', { branch: 'feature/x', from_branch: 'main' }],
      ['push_files', push('feature/x', 'src/new.txt')],
      ['create_pull_request', { title: 'A pull request', head: 'feature/x', base: 'main' }],
      ['list_issues', {}],
    ] as const) {
      const answer = await alice.call(tool, { ...acme, ...args })
      expect(answer.isError ?? false, JSON.stringify(answer.content)).toBe(false)
    }
    expect(github.state.pull(8)).toMatchObject({ title: 'A pull request' })
    expect(github.unexpected).toEqual([])
  })

  test('every road to a merge is denied without one request to GitHub, listed or not', async () => {
    const alice = await as('alice')
    const walk = async () => {
      for (const [what, tool, args] of ROADS) {
        const answer = await alice.call(tool, { ...acme, ...args }).catch((error: Error) => error)
        const refused =
          answer instanceof Error
            ? /"decision_id"|spelt|case or form/.test(answer.message)
            : /^Denied by policy/.test(answer.content[0]?.text ?? '')
        expect(
          refused,
          `${what}: ${answer instanceof Error ? answer.message : JSON.stringify(answer.content)}`,
        ).toBe(true)
        expect(github.requests, what).toEqual([])
      }
    }
    await walk()
    const names = await alice.names()
    expect(names).not.toContain('merge_pull_request')
    await walk()
    expect(github.state.pull(7)?.merged).toBe(false)
  })

  test('mona merges, and may not do what nobody was granted', async () => {
    const mona = await as('mona')
    expect(await mona.names()).toContain('merge_pull_request')
    const merged = await mona.call('merge_pull_request', { ...acme, ...PULL })
    expect(merged.isError ?? false, JSON.stringify(merged.content)).toBe(false)
    expect(github.state.pull(7)?.merged).toBe(true)
    const before = github.requests.length
    for (const [tool, args] of [
      ['create_repository', { name: 'x' }],
      ['push_files', { ...acme, ...push('main', 'a.txt') }],
      ['merge_pull_request', { ...acme, repo: 'other', ...PULL }],
    ] as const) {
      expect(await mona.text(tool, args)).toMatch(/^Denied by policy/)
    }
    expect(github.requests).toHaveLength(before)
  })

  test('each session has a process of its own, which ends with it', async () => {
    const alice = await as('alice')
    const mona = await as('mona')
    expect(await alice.names()).not.toEqual(await mona.names())
    await alice.close()
    expect(await mona.names()).toContain('get_me')
  })

  test('a second session of a server that is bounded to one is told to wait', async () => {
    await sidecar.stop()
    const upstream = {
      url: null,
      command: [binary.ok ? binary.path : '', ...githubArgs],
      env: githubEnv(github.url, token),
      max_sessions: 1,
    }
    sidecar = await startSidecar({ jwks: issuer.jwks, config: { plugins: { mcp: { upstream } } } })
    const alice = await as('alice')
    await expect(as('mona')).rejects.toThrow(/takes no further session/)
    await alice.close()
    open.splice(0)
    expect(await (await as('mona')).names()).toContain('get_me')
  })
})
