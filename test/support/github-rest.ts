// A strict fake of the few GitHub routes that the GitHub MCP server 0.12.1 uses, written from GitHub's documentation.
// It is an HTTP proxy (`GET http://github.test/api/v3/...`), because that server drops the port of its host. It keeps
// one repository, acme/app, as git does: files in commits under refs. What it does not know goes to `unexpected`.
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'

export type RestRequest = { method: string; path: string; body?: unknown }
export type Pull = ReturnType<typeof newPull>
type Body = Record<string, unknown>
type Files = Record<string, string>
type Reply = [status: number, body?: unknown]
/** Field → type, `!` when required; null for no body at all. Any other is `unexpected`, and ignored. */
type Fields = Record<string, `${'string' | 'boolean' | 'array' | 'object'}${'' | '!'}`> | null
type Handle = (params: string[], body: Body, query: URLSearchParams) => Reply
type Route = [method: string, path: RegExp, fields: Fields, handle: Handle]
type Repository = ReturnType<typeof repository>

const me = 'octo-agent'
const fail = (status: number, message: string): Reply => [status, { message, status: String(status) }]
const invalid = (field: string, code = 'invalid', message?: string): Reply => {
  return [
    422,
    {
      message: 'Validation Failed',
      errors: [{ resource: 'PullRequest', field, code, message }],
      status: '422',
    },
  ]
}
const hash = (kind: string, text: string) => {
  return createHash('sha1')
    .update(`${kind} ${Buffer.byteLength(text)}\0${text}`)
    .digest('hex')
}
const isObject = (value: unknown): value is Body =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

export async function startGithubRest({ token }: { token: string }) {
  const repo = repository()
  const routes = routesOf(repo)
  const requests: RestRequest[] = []
  const unexpected: string[] = []

  async function answer(req: IncomingMessage): Promise<Reply> {
    const { method = '', url = '' } = req
    let text = ''
    for await (const chunk of req.setEncoding('utf8')) text += chunk
    const body = parse(text)
    // Taken apart by hand: URL would tidy away the `..` of a path, and tests want to see it.
    const [, path, query] = /^http:\/\/github\.test(\/[^?#]*)\??([^#]*)$/.exec(url) ?? []
    requests.push({
      method,
      path: path === undefined ? url : url.slice('http://github.test'.length),
      ...(text && { body }),
    })
    // Names of owners and repositories are compared without case. Of a known route in another repository: 404.
    const named = /^\/(api\/v3\/repos|raw)\/([^/]+\/[^/]+)/.exec(path ?? '')
    const known = named ? path?.replace(named[0], `/${named[1]}/acme/app`) : path
    const route = routes.find(([verb, pattern]) => verb === method && pattern.test(known ?? ''))
    const reply = () => {
      if (!route || !known || (route[2] === null && text !== '')) return undefined
      if (req.headers.authorization !== `Bearer ${token}`) return fail(401, 'Bad credentials')
      if (named && named[2]?.toLowerCase() !== 'acme/app') return fail(404, 'Not Found')
      if (route[2]) {
        if (!/^application\/json\b/.test(req.headers['content-type'] ?? ''))
          return fail(415, 'Unsupported Media Type')
        if (body === text) return fail(400, 'Problems parsing JSON')
        if (!isObject(body)) return fail(400, 'Body should be a JSON object')
        const wrong = check(body, route[2])
        if (wrong) return wrong
      }
      const params = (route[1].exec(known) ?? []).slice(1).map(decodeURIComponent)
      const given = Object.entries(isObject(body) ? body : {})
      const fields = given.filter(([name]) => Object.hasOwn(route[2] ?? {}, name))
      const others = given.filter((field) => !fields.includes(field)).map(([name]) => name)
      if (others.length > 0) unexpected.push(`${method} ${url} with ${others}`)
      return route[3](params, Object.fromEntries(fields), new URLSearchParams(query))
    }
    const [status, json] = reply() ?? [0]
    if (status > 0) return [status, json]
    unexpected.push(`${method} ${url}${json ? ` ${json}` : ''}`)
    return fail(404, 'Not Found')
  }

  const server = createServer((req, res) => {
    const write = ([status, body]: Reply) => {
      const plain = typeof body === 'string'
      res.writeHead(status, {
        'content-type': plain ? 'text/plain; charset=utf-8' : 'application/json; charset=utf-8',
      })
      res.end(plain || body === undefined ? body : JSON.stringify(body))
    }
    answer(req).then(write, (error) => {
      unexpected.push(`${req.method} ${req.url} broke the fake: ${error}`)
      write(fail(500, 'Server Error'))
    })
  })
  server.on('connect', (req, socket) => {
    requests.push({ method: 'CONNECT', path: req.url ?? '' })
    unexpected.push(`CONNECT ${req.url}`)
    socket.end('HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))

  const { refs, pulls, reviews, runs } = repo
  return {
    /** For HTTP_PROXY. */
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    /** All that arrived, refused or not. */
    requests,
    unexpected,
    state: {
      pull: (number: number): Pull | undefined => pulls.find((pull) => pull.number === number),
      branches: () => repo.branches(),
      /** The files of a branch: path → text. */
      files: (branch: string): Files | undefined => repo.files(refs.get(`heads/${branch}`)),
      reviews,
      runs,
    },
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** The JSON, or the very text when it is none. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

function check(body: Body, fields: Exclude<Fields, null>): Reply | undefined {
  for (const [name, kind] of Object.entries(fields)) {
    const value = body[name]
    if (value === undefined && kind.endsWith('!'))
      return fail(422, `Invalid request.\n\n"${name}" wasn't supplied.`)
    const type = Array.isArray(value) ? 'array' : typeof value
    if (value !== undefined && !kind.startsWith(type))
      return fail(422, `Invalid request.\n\n"${name}" is not of type ${kind}.`)
  }
  return undefined
}

function newPull(number: number, user: string, title: string, body: string, head: string, base: string) {
  const open = { state: 'open', draft: false, merged: false, mergeCommit: null as string | null, headSha: '' }
  return { number, user, title, body, head, base, ...open }
}

function repository() {
  const trees = new Map<string, Files>()
  const commits = new Map<string, { tree: string; parents: string[]; message: string }>()
  const refs = new Map<string, string>()
  const tree = (files: Files) => {
    const sha = hash('tree', JSON.stringify(Object.entries(files).sort()))
    trees.set(sha, files)
    return sha
  }
  const commit = (tree: string, parents: string[], message: string) => {
    const sha = hash('commit', JSON.stringify([tree, parents, message]))
    commits.set(sha, { tree, parents, message })
    return sha
  }
  const files = (sha = '') => trees.get(commits.get(sha)?.tree ?? '')
  /** A commit and all before it, nearest first. */
  const history = (sha: string) => {
    const seen = new Set([sha])
    for (const one of seen) for (const parent of commits.get(one)?.parents ?? []) seen.add(parent)
    return seen
  }
  /** The files of `into` with what `from` changed since both parted; undefined on a conflict. */
  const merge = (into: string, from: string): Files | undefined => {
    const base = files([...history(from)].find((sha) => history(into).has(sha))) ?? {}
    const [ours, theirs] = [files(into) ?? {}, files(from) ?? {}]
    const merged = { ...ours }
    for (const path of Object.keys({ ...base, ...theirs })) {
      const text = theirs[path]
      if (text === base[path] || text === ours[path]) continue
      if (ours[path] !== base[path]) return undefined
      if (text === undefined) delete merged[path]
      else merged[path] = text
    }
    return merged
  }
  const start = { 'README.md': '# app\n', 'src/app.txt': 'one\n' }
  const first = commit(tree(start), [], 'First')
  refs.set('heads/main', first)
  refs.set('heads/feature', commit(tree({ ...start, 'src/feature.txt': 'new\n' }), [first], 'Add a feature'))
  const pulls = [newPull(7, 'alice', 'Add a feature', 'Please look.', 'feature', 'main')]
  const reviews: { pull: number; event: string; body: string }[] = []
  const runs: { workflow: string; ref: string; inputs: unknown }[] = []
  const branches = () => [...refs.keys()].filter((ref) => ref.startsWith('heads/')).map((ref) => ref.slice(6))
  return { trees, commits, refs, pulls, reviews, runs, tree, commit, files, history, merge, branches }
}

function routesOf(repo: Repository): Route[] {
  const { trees, commits, refs, pulls } = repo
  const at = (path: string) => new RegExp(`^/api/v3/repos/acme/app${path}$`)
  const resolve = (ref: string) =>
    commits.has(ref) ? ref : (refs.get(ref.replace(/^refs\//, '')) ?? refs.get(`heads/${ref}`))
  const page = <T>(all: T[], query: URLSearchParams) => {
    const size = Math.min(Number(query.get('per_page') ?? 30), 100)
    return all.slice((Number(query.get('page') ?? 1) - 1) * size).slice(0, size)
  }
  const refJson = (ref: string) => ({ ref: `refs/${ref}`, object: { type: 'commit', sha: refs.get(ref) } })
  const commitJson = (sha: string) => {
    const { tree = '', parents = [], message } = commits.get(sha) ?? {}
    return { sha, message, tree: { sha: tree }, parents: parents.map((parent) => ({ sha: parent })) }
  }
  const entryJson = (path: string, text: string) => {
    const name = path.split('/').at(-1)
    return { type: 'file', name, path, sha: hash('blob', text), size: Buffer.byteLength(text) }
  }
  const fileJson = (path: string, text: string) => {
    return { ...entryJson(path, text), encoding: 'base64', content: Buffer.from(text).toString('base64') }
  }
  const headSha = (pull: Pull) => pull.headSha || (refs.get(`heads/${pull.head}`) ?? '')
  const pullJson = (pull: Pull) => {
    const { number, title, body, draft, state, merged, mergeCommit, head, base, user } = pull
    const side = (ref: string, sha = '') => ({
      label: `acme:${ref}`,
      ref,
      sha,
      repo: { full_name: 'acme/app' },
    })
    return {
      ...{
        number,
        node_id: `PR_${number}`,
        title,
        body,
        draft,
        state,
        merged,
        merge_commit_sha: mergeCommit,
      },
      ...{ html_url: `http://github.test/acme/app/pull/${number}`, user: { login: user } },
      ...{ head: side(head, headSha(pull)), base: side(base, refs.get(`heads/${base}`)) },
    }
  }
  const onPull = (act: (pull: Pull, body: Body) => Reply): Handle => {
    return ([number], body) => {
      const pull = pulls.find((one) => String(one.number) === number)
      return pull ? act(pull, body) : fail(404, 'Not Found')
    }
  }

  const getContents: Handle = ([path = ''], _body, query) => {
    const files = repo.files(resolve(query.get('ref') ?? 'main')) ?? {}
    if (files[path] !== undefined) return [200, fileJson(path, files[path])]
    const below = path === '' ? '' : `${path}/`
    const inside = Object.keys(files).filter((file) => file.startsWith(below))
    const entries = new Set(inside.map((file) => below + file.slice(below.length).split('/')[0]))
    const dirJson = (path: string) => ({ ...entryJson(path, ''), type: 'dir', sha: hash('tree', path) })
    if (entries.size === 0) return fail(404, 'Not Found')
    return [
      200,
      [...entries].map((one) => (files[one] === undefined ? dirJson(one) : entryJson(one, files[one]))),
    ]
  }
  const putContents: Handle = ([path = ''], body) => {
    const { branch = 'main', message = '', content = '', sha } = body as Files
    const tip = refs.get(`heads/${branch}`)
    if (!tip) return fail(404, `Branch ${branch} not found`)
    const text = Buffer.from(content, 'base64').toString()
    if (Buffer.from(text).toString('base64') !== content) return fail(422, 'content is not valid Base64')
    const before = repo.files(tip)?.[path]
    if (before !== undefined && !sha) return fail(422, 'Invalid request.\n\n"sha" wasn\'t supplied.')
    if (sha && (before === undefined || sha !== hash('blob', before)))
      return fail(409, `${path} does not match ${sha}`)
    const made = repo.commit(repo.tree({ ...repo.files(tip), [path]: text }), [tip], message)
    refs.set(`heads/${branch}`, made)
    return [before === undefined ? 201 : 200, { content: fileJson(path, text), commit: commitJson(made) }]
  }
  const getRaw: Handle = ([ref = '', path = '']) => {
    const text = repo.files(resolve(ref))?.[path]
    return text === undefined ? fail(404, 'Not Found') : [200, text]
  }
  const getTree: Handle = ([sha = '']) => {
    const files = trees.get(sha) ?? repo.files(resolve(sha))
    const entry = ([path, text]: [string, string]) => ({
      path,
      mode: '100644',
      type: 'blob',
      sha: hash('blob', text),
    })
    return files
      ? [200, { sha, tree: Object.entries(files).map(entry), truncated: false }]
      : fail(404, 'Not Found')
  }
  const createTree: Handle = (_params, { base_tree, tree }) => {
    const sha = String(base_tree ?? '')
    const base = sha === '' ? {} : (trees.get(sha) ?? repo.files(sha))
    if (!base) return fail(422, 'base_tree is not a valid tree oid')
    const files: Files = { ...base }
    for (const entry of tree as Body[]) {
      const path = String(entry.path ?? '')
      if (path.split('/').some((part) => /^(\.{0,2}|\.git)$/.test(part)))
        return fail(422, 'tree.path contains a malformed path component')
      if (entry.mode !== '100644' || entry.type !== 'blob')
        return fail(422, 'tree.mode is not one the fake has')
      if (typeof entry.content === 'string') files[path] = entry.content
      else if (entry.sha === null && files[path] !== undefined) delete files[path]
      else return fail(422, 'GitRPC::BadObjectState')
    }
    return [201, { sha: repo.tree(files), tree: [] }]
  }
  const createCommit: Handle = (_params, body) => {
    const { message, tree, parents = [] } = body as { message: string; tree: string; parents?: string[] }
    if (!trees.has(tree)) return fail(422, 'Tree SHA does not exist')
    if (!parents.every((sha) => commits.has(sha)))
      return fail(422, 'Parent SHA does not exist or is not a commit object')
    return [201, commitJson(repo.commit(tree, parents, message))]
  }
  const getCommit: Handle = ([sha = '']) =>
    commits.has(sha) ? [200, commitJson(sha)] : fail(404, 'Not Found')
  const getRef: Handle = ([ref = '']) => (refs.has(ref) ? [200, refJson(ref)] : fail(404, 'Not Found'))
  const createRef: Handle = (_params, body) => {
    const ref = /^refs\/(heads\/.+)$/.exec(String(body.ref))?.[1]
    if (!ref) return fail(422, 'Reference name must start with refs/ and have at least two slashes')
    if (!commits.has(String(body.sha))) return fail(422, 'Object does not exist')
    if (refs.has(ref)) return fail(422, 'Reference already exists')
    refs.set(ref, String(body.sha))
    return [201, refJson(ref)]
  }
  const updateRef: Handle = ([ref = ''], { sha, force }) => {
    const tip = refs.get(ref)
    if (!tip) return fail(422, 'Reference does not exist')
    if (!commits.has(String(sha))) return fail(422, 'Object does not exist')
    if (force !== true && !repo.history(String(sha)).has(tip))
      return fail(422, 'Update is not a fast forward')
    refs.set(ref, String(sha))
    return [200, refJson(ref)]
  }
  const listBranches: Handle = (_params, _body, query) => {
    const branch = (name: string) => ({ name, commit: { sha: refs.get(`heads/${name}`) }, protected: false })
    return [200, page(repo.branches().map(branch), query)]
  }

  const listPulls: Handle = (_params, _body, query) => {
    const [state, head, base] = [query.get('state') ?? 'open', query.get('head'), query.get('base')]
    const asked = pulls
      .filter((pull) => state === 'all' || pull.state === state)
      .filter(
        (pull) => (head ?? `acme:${pull.head}`) === `acme:${pull.head}` && (base ?? pull.base) === pull.base,
      )
    return [200, page(asked.map(pullJson), query)]
  }
  const createPull: Handle = (_params, body) => {
    const { title, base, body: text = '' } = body as { title: string; base: string; body?: string }
    const head = String(body.head).replace(/^acme:/, '')
    const [from, into] = [refs.get(`heads/${head}`), refs.get(`heads/${base}`)]
    if (!from || !into) return invalid(from ? 'base' : 'head')
    if (repo.history(into).has(from))
      return invalid('head', 'custom', `No commits between ${base} and ${head}`)
    if (pulls.some((one) => one.state === 'open' && one.head === head && one.base === base)) {
      return invalid('head', 'custom', `A pull request already exists for acme:${head}.`)
    }
    const pull = newPull(Math.max(...pulls.map((one) => one.number)) + 1, me, title, text, head, base)
    pulls.push(Object.assign(pull, { draft: body.draft === true }))
    return [201, pullJson(pull)]
  }
  const updatePull = onPull((pull, { maintainer_can_modify: _, ...change }) => {
    const { state = pull.state, base = pull.base } = change
    if (!['open', 'closed'].includes(String(state)) || (pull.merged && state === 'open'))
      return invalid('state')
    if (!refs.has(`heads/${base}`)) return invalid('base')
    Object.assign(pull, change, { headSha: state === 'closed' ? headSha(pull) : '' })
    return [200, pullJson(pull)]
  })
  const mergePull = onPull((pull, { sha, commit_title, merge_method = 'merge' }) => {
    if (!['merge', 'squash', 'rebase'].includes(String(merge_method))) return invalid('merge_method')
    const [head, into] = [headSha(pull), refs.get(`heads/${pull.base}`) ?? '']
    if (sha !== undefined && sha !== head)
      return fail(409, 'Head branch was modified. Review and try the merge again.')
    const files = pull.state === 'open' && !pull.draft ? repo.merge(into, head) : undefined
    if (!files) return fail(405, 'Pull Request is not mergeable')
    const title = String(commit_title ?? `Merge pull request #${pull.number} from acme/${pull.head}`)
    const made = repo.commit(repo.tree(files), merge_method === 'merge' ? [into, head] : [into], title)
    refs.set(`heads/${pull.base}`, made)
    Object.assign(pull, { state: 'closed', merged: true, mergeCommit: made, headSha: head })
    return [200, { sha: made, merged: true, message: 'Pull Request successfully merged' }]
  })
  const runWorkflow: Handle = ([workflow = ''], { ref, inputs = {} }) => {
    if (workflow !== 'ci.yml') return fail(404, 'Not Found')
    if (!resolve(String(ref))) return fail(422, `No ref found for: ${ref}`)
    repo.runs.push({ workflow, ref: String(ref), inputs })
    return [204]
  }

  const user = { login: me, id: 1, type: 'User' }
  const issue = { number: 1, title: 'It fails', body: 'Always.', state: 'open', user: { login: 'alice' } }
  const text = 'string' as const
  const must = 'string!' as const
  const pullFields = { body: text, draft: 'boolean', maintainer_can_modify: 'boolean' } as const
  return [
    ['GET', /^\/api\/v3\/user$/, null, () => [200, user]],
    ['POST', /^\/api\/graphql$/, { query: must, variables: 'object!' }, graphql(repo)],
    ['GET', at(''), null, () => [200, { name: 'app', full_name: 'acme/app', default_branch: 'main' }]],
    ['GET', at('/issues/(\\d+)'), null, ([n]) => (n === '1' ? [200, issue] : fail(404, 'Not Found'))],
    ['GET', at('/contents/(.*)'), null, getContents],
    ['PUT', at('/contents/(.+)'), { message: must, content: must, sha: text, branch: text }, putContents],
    ['GET', /^\/raw\/acme\/app\/([^/]+)\/(.+)$/, null, getRaw],
    ['GET', at('/branches'), null, listBranches],
    ['GET', at('/git/ref/(.+)'), null, getRef],
    ['POST', at('/git/refs'), { ref: must, sha: must }, createRef],
    ['PATCH', at('/git/refs/(.+)'), { sha: must, force: 'boolean' }, updateRef],
    ['GET', at('/git/commits/([^/]+)'), null, getCommit],
    ['POST', at('/git/commits'), { message: must, tree: must, parents: 'array' }, createCommit],
    ['GET', at('/git/trees/([^/]+)'), null, getTree],
    ['POST', at('/git/trees'), { base_tree: text, tree: 'array!' }, createTree],
    ['GET', at('/pulls'), null, listPulls],
    ['POST', at('/pulls'), { title: must, head: must, base: must, ...pullFields }, createPull],
    ['GET', at('/pulls/(\\d+)'), null, onPull((pull) => [200, pullJson(pull)])],
    [
      'PATCH',
      at('/pulls/(\\d+)'),
      { title: text, body: text, state: text, base: text, maintainer_can_modify: 'boolean' },
      updatePull,
    ],
    [
      'PUT',
      at('/pulls/(\\d+)/merge'),
      { commit_title: text, commit_message: text, sha: text, merge_method: text },
      mergePull,
    ],
    ['POST', at('/actions/workflows/([^/]+)/dispatches'), { ref: must, inputs: 'object' }, runWorkflow],
  ]
}

/** The few questions that the tools put in GraphQL, known by their text; any other is unexpected (status 0). */
function graphql({ pulls, reviews }: Repository): Handle {
  const ask = 'query{repository(owner: $owner, name: $repo){'
  const failure = (message: string): Reply => [200, { data: null, errors: [{ type: 'NOT_FOUND', message }] }]
  return (_params, body) => {
    const question = String(body.query).replace(/^(query|mutation)\([^)]*\)/, '$1')
    const variables = body.variables as Body
    const input = isObject(variables.input) ? variables.input : {}
    const other = `${variables.owner}/${variables.repo}`.toLowerCase() !== 'acme/app'
    if (question.startsWith(ask) && other) return failure('Could not resolve to a Repository.')
    if (question.startsWith(`${ask}issues(`)) {
      const at = '2026-01-01T00:00:00Z'
      const node = {
        number: 1,
        title: 'It fails',
        body: 'Always.',
        state: 'OPEN',
        databaseId: 1,
        createdAt: at,
      }
      const rest = {
        updatedAt: at,
        author: { login: 'alice' },
        labels: { nodes: [] },
        comments: { totalCount: 0 },
      }
      const pageInfo = { hasNextPage: false, hasPreviousPage: false, startCursor: '', endCursor: '' }
      return [
        200,
        { data: { repository: { issues: { nodes: [{ ...node, ...rest }], pageInfo, totalCount: 1 } } } },
      ]
    }
    const lookUp = /^query\{.*\{pullRequest\(number: \$prNum\)\{(id|id,isDraft)\}\}\}$/.exec(question)?.[1]
    const change = /^mutation\{(\w+)\(input: \$input\)/.exec(question)?.[1] ?? ''
    const pull = pulls.find(
      (one) => one.number === variables.prNum || `PR_${one.number}` === input.pullRequestId,
    )
    const id = `PR_${pull?.number}`
    const isDraft = change === 'convertPullRequestToDraft'
    if (lookUp) {
      if (!pull) return failure('Could not resolve to a PullRequest.')
      const pullRequest = lookUp === 'id' ? { id } : { id, isDraft: pull.draft }
      return [200, { data: { repository: { pullRequest } } }]
    }
    if (isDraft || change === 'markPullRequestReadyForReview') {
      if (!pull) return failure('Could not resolve to a node.')
      pull.draft = isDraft
      return [200, { data: { [change]: { pullRequest: { id, isDraft } } } }]
    }
    if (change !== 'addPullRequestReview') return [0, question]
    if (!pull) return failure('Could not resolve to a node.')
    if (input.event === 'APPROVE' && pull.user === me) return failure('Can not approve your own pull request')
    reviews.push({ pull: pull.number, event: String(input.event), body: String(input.body ?? '') })
    return [200, { data: { addPullRequestReview: { pullRequestReview: { id: `PRR_${reviews.length}` } } } }]
  }
}
