// The real GitHub MCP server against the fake, with nothing in between: what the policy will close is open here.
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { find, githubArgs, githubEnv, githubServer } from './github-binary.ts'
import { startGithubRest } from './github-rest.ts'

const binary = await githubServer()
if (!binary.ok) console.warn(`SKIPPED: no real GitHub MCP server in these tests: ${binary.why}`)

const token = 'a-token-of-the-tests'
const repository = { owner: 'acme', repo: 'app' }
let github: Awaited<ReturnType<typeof startGithubRest>>

beforeEach(async () => {
  github = await startGithubRest({ token })
})
afterEach(() => github.close())

describe.skipIf(!binary.ok)('the real GitHub MCP server', () => {
  const command = binary.ok ? binary.path : ''
  let client: Client

  async function connect(withToken = token) {
    client = new Client({ name: 'test', version: '1' })
    const env = githubEnv(github.url, withToken)
    await client.connect(new StdioClientTransport({ command, args: githubArgs, env, stderr: 'ignore' }))
  }
  beforeEach(() => connect())
  afterEach(() => client.close())

  /** The text of the tool's answer; the server reports some failures as results and some as protocol errors. */
  async function call(name: string, args: Record<string, unknown> = {}) {
    try {
      const result = await client.callTool({ name, arguments: { ...repository, ...args } })
      const [first] = result.content as { text: string }[]
      return { ok: !result.isError, text: first?.text ?? '' }
    } catch (error) {
      return { ok: false, text: (error as Error).message }
    }
  }
  const sent = () => github.requests.map(({ method, path }) => `${method} ${path}`)
  const change = { branch: 'main', message: 'A change', files: [{ path: 'src/app.txt', content: 'two\n' }] }

  it('is version 0.12.1 with all its tools, and asks GitHub nothing for them', async () => {
    const { tools } = await client.listTools()
    expect(client.getServerVersion()).toEqual({ name: 'github-mcp-server', version: '0.12.1' })
    expect(tools.map((tool) => tool.name)).toContain('merge_pull_request')
    expect(tools).toHaveLength(85)
    expect(github.requests).toEqual([])
  })

  it('reads', async () => {
    for (const [tool, args, part] of [
      ['get_me', {}, 'octo-agent'],
      ['list_issues', {}, 'It fails'],
      ['get_issue', { issue_number: 1 }, 'It fails'],
      ['list_branches', {}, 'feature'],
      ['list_pull_requests', { state: 'open' }, '"number":7'],
      ['get_pull_request', { pullNumber: 7 }, '"state":"open"'],
      ['get_file_contents', { path: 'src/' }, 'src/app.txt'],
    ] as const) {
      expect(await call(tool, args), tool).toEqual({ ok: true, text: expect.stringContaining(part) })
    }
    const file = { path: 'src/feature.txt', ref: 'refs/heads/feature' }
    const result = await client.callTool({
      name: 'get_file_contents',
      arguments: { ...repository, ...file },
    })
    expect(JSON.stringify(result)).toContain('"text":"new\\n"')
    expect(await call('get_file_contents', { path: 'nowhere/' })).toMatchObject({ ok: false })
    expect(github.unexpected).toEqual([])
  })

  it('works on a branch and opens a pull request', async () => {
    const file = { branch: 'work', message: 'Write' }
    expect(await call('create_branch', { branch: 'work', from_branch: 'main' })).toMatchObject({ ok: true })
    for (const [tool, args] of [
      ['create_or_update_file', { ...file, path: 'docs/a b.md', content: 'hä\n' }],
      ['delete_file', { ...file, path: 'src/app.txt' }],
      ['create_pull_request', { title: 'Work', head: 'work', base: 'main' }],
      ['update_pull_request', { pullNumber: 8, title: 'Better work', draft: true }],
    ] as const) {
      expect(await call(tool, args), tool).toMatchObject({ ok: true })
    }
    expect(github.state.branches()).toEqual(['main', 'feature', 'work'])
    expect(github.state.files('work')).toEqual({ 'README.md': '# app\n', 'docs/a b.md': 'hä\n' })
    const pull = {
      user: 'octo-agent',
      title: 'Better work',
      head: 'work',
      base: 'main',
      draft: true,
      merged: false,
    }
    expect(github.state.pull(8)).toMatchObject(pull)
    expect(github.unexpected).toEqual([])
  })

  it('merges a pull request into main, once', async () => {
    expect(await call('merge_pull_request', { pullNumber: 7, merge_method: 'squash' })).toMatchObject({
      ok: true,
    })
    expect(sent()).toEqual(['PUT /api/v3/repos/acme/app/pulls/7/merge'])
    expect(github.state.pull(7)).toMatchObject({ merged: true, state: 'closed' })
    expect(github.state.files('main')).toHaveProperty(['src/feature.txt'], 'new\n')

    expect(await call('merge_pull_request', { pullNumber: 7 })).toMatchObject({ ok: false })
  })

  it('has the side roads to main: push_files, create_or_update_file, delete_file, run_workflow', async () => {
    expect(await call('push_files', change)).toMatchObject({ ok: true })
    expect(github.state.files('main')).toHaveProperty(['src/app.txt'], 'two\n')
    const file = { branch: 'main', message: 'A change', path: 'new.txt', content: 'x' }
    expect(await call('create_or_update_file', file)).toMatchObject({ ok: true })
    expect(github.state.files('main')).toHaveProperty(['new.txt'], 'x')
    const { content: _, ...deletion } = file
    expect(await call('delete_file', deletion)).toMatchObject({ ok: true })
    expect(github.state.files('main')).not.toHaveProperty(['new.txt'])
    expect(await call('run_workflow', { workflow_id: 'ci.yml', ref: 'main' })).toMatchObject({ ok: true })
    expect(github.state.runs).toEqual([{ workflow: 'ci.yml', ref: 'main', inputs: {} }])
    expect(github.unexpected).toEqual([])
  })

  it('approves what another wrote, and never its own', async () => {
    const review = { body: 'Good.', event: 'APPROVE' }
    const tool = 'create_and_submit_pull_request_review'
    expect(await call(tool, { ...review, pullNumber: 7 })).toMatchObject({ ok: true })
    expect(github.state.reviews).toEqual([{ pull: 7, event: 'APPROVE', body: 'Good.' }])

    await call('create_branch', { branch: 'work' })
    await call('push_files', { ...change, branch: 'work' })
    await call('create_pull_request', { title: 'Work', head: 'work', base: 'main' })
    expect(await call(tool, { ...review, pullNumber: 8 })).toMatchObject({ ok: false })
    expect(github.unexpected).toEqual([])
  })

  it('reaches the same repository by names in another case, and no other repository', async () => {
    expect(await call('get_pull_request', { owner: 'ACME', pullNumber: 7 })).toMatchObject({ ok: true })
    expect(await call('get_pull_request', { owner: 'other', pullNumber: 7 })).toMatchObject({ ok: false })
  })

  // The server pastes names into URLs and tidies the result: dots, `?` and `#` in an argument choose another route.
  it.each([
    [
      'a path of dots',
      'create_or_update_file',
      { path: '../pulls/7/merge', content: 'x', message: 'm', branch: 'any' },
    ],
    ['a repo with a question mark', 'merge_pull_request', { repo: 'app/pulls/7/merge?', pullNumber: 9 }],
    ['an owner with dots', 'merge_pull_request', { owner: 'mine/sandbox/../../acme', pullNumber: 7 }],
    ['a fraction', 'merge_pull_request', { pullNumber: 7.9 }],
  ])('merges #7 by %s', async (_name, tool, args) => {
    expect(await call(tool, args)).toMatchObject({ ok: true })
    expect(github.requests).toHaveLength(1)
    expect(github.state.pull(7)).toMatchObject({ merged: true })
    const fields = 'PUT http://github.test/api/v3/repos/acme/app/pulls/7/merge with message,content,branch'
    expect(github.unexpected).toEqual(tool === 'merge_pull_request' ? [] : [fields])
  })

  it('is refused with another token', async () => {
    await client.close()
    await connect('another')
    expect(await call('merge_pull_request', { pullNumber: 7 })).toMatchObject({ ok: false })
    expect(sent()).toEqual(['PUT /api/v3/repos/acme/app/pulls/7/merge'])
    expect(github.state.pull(7)).toMatchObject({ merged: false })
  })

  it('is noticed on a route that the fake does not know', async () => {
    expect(await call('fork_repository')).toMatchObject({ ok: false })
    expect(github.unexpected).toEqual(['POST http://github.test/api/v3/repos/acme/app/forks'])
  })
})

describe('the fake of GitHub', () => {
  const api = '/api/v3/repos/acme/app'
  const json = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }

  /** One request as a proxy gets it. */
  async function ask(method: string, target: string, headers: Record<string, string>, body?: string) {
    const { port } = new URL(github.url)
    return new Promise<{ status: number | undefined; text: string }>((resolve, reject) => {
      const req = request({ host: '127.0.0.1', port, method, path: target, headers }, async (res) => {
        let text = ''
        for await (const chunk of res.setEncoding('utf8')) text += chunk
        resolve({ status: res.statusCode, text })
      })
      req.on('error', reject).end(body)
    })
  }
  const post = (path: string, body: string, headers = json) =>
    ask('POST', `http://github.test${path}`, headers, body)

  it('checks token, content type, JSON and fields', async () => {
    const { authorization } = json
    const whole = JSON.stringify({ title: 't', head: 'feature', base: 'main' })
    for (const [status, body, headers] of [
      [401, whole, { ...json, authorization: 'Bearer x' }],
      [415, whole, { authorization, 'content-type': 'text/plain' }],
      [400, '{', json],
      [400, '[]', json],
      [422, '{"title":"t","base":"main"}', json],
      [422, '{"title":1,"head":"feature","base":"main"}', json],
      [422, '{"title":"t","head":"nowhere","base":"main"}', json],
      [422, whole, json], // there is one already
    ] as const) {
      expect(await post(`${api}/pulls`, body, headers), body).toMatchObject({ status })
    }
    expect(JSON.parse((await post(`${api}/pulls`, '{"title":"t","head":"no","base":"main"}')).text)).toEqual({
      message: 'Validation Failed',
      errors: [{ resource: 'PullRequest', field: 'head', code: 'invalid' }],
      status: '422',
    })
    expect(github.state.pull(8)).toBeUndefined()
    expect(github.unexpected).toEqual([])
  })

  it('notices what is not the API: another host, no proxy form, dots in the path, unknown GraphQL', async () => {
    for (const target of [
      `http://elsewhere.test${api}`,
      `${api}/pulls`,
      `http://github.test${api}/x/../pulls`,
    ]) {
      expect(await ask('GET', target, json), target).toMatchObject({ status: 404 })
    }
    const question = JSON.stringify({ query: 'query{viewer{login}}', variables: {} })
    expect(await post('/api/graphql', question)).toMatchObject({ status: 404 })
    expect(github.unexpected).toHaveLength(4)
  })

  it.each([
    ['what main got meanwhile stays', { path: 'main.txt', status: 200 }],
    ['a conflict is refused', { path: 'src/feature.txt', status: 405 }],
  ])('merges three ways: %s', async (_name, { path, status }) => {
    const file = JSON.stringify({ message: 'm', content: btoa('of main'), branch: 'main' })
    await ask('PUT', `http://github.test${api}/contents/${path}`, json, file)
    expect(await ask('PUT', `http://github.test${api}/pulls/7/merge`, json, '{}')).toMatchObject({ status })
    expect(github.state.pull(7)).toMatchObject({ merged: status === 200 })
    const merged = status === 200 ? { 'src/feature.txt': 'new\n' } : {}
    expect(github.state.files('main')).toMatchObject({ ...merged, [path]: 'of main' })
  })
})

describe('the set-up of the binary', () => {
  it('says why a machine cannot, tells all that wait the same, and leaves nothing behind', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'github-binary-'))
    try {
      const answers = await Promise.all([1, 2, 3].map(() => find(folder, 'no-such-python')))
      for (const answer of answers) {
        expect(answer).toEqual({ ok: false, why: expect.stringContaining('there is no no-such-python here') })
      }
      expect(await readdir(folder)).toEqual(['why-not.txt'])
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })
})
