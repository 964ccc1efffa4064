// The tools on branches, commits, files and whole repositories.
import {
  boolean,
  type DemoTool,
  message,
  oneOf,
  type Page,
  paging,
  place,
  reads,
  string,
  tool,
} from './tool.ts'

const file = { type: 'object', properties: { path: string('Where'), content: string('What') } }
const files = {
  type: 'array',
  items: { ...file, required: ['path', 'content'], additionalProperties: false },
  description: 'The files, each with path and content',
}

export const contents: DemoTool[] = [
  tool(
    'get_me',
    'Get my user profile',
    'Who the token belongs to',
    {},
    '',
    (r) => [r.login, { login: r.login }],
    reads,
  ),
  tool<{ query: string } & Page>(
    'search_code',
    'Search code',
    'Searches code; `repo:owner/name` narrows it',
    {
      query: string('Words to find, and qualifiers'),
      sort: string("'indexed' only"),
      order: oneOf('Order', 'asc', 'desc'),
      ...paging,
    },
    'query',
    (r, { query }) => {
      const words = query.split(/\s+/).filter((word) => word && !word.includes(':'))
      const elsewhere = /\brepo:(?!acme\/app(?:\s|$))/i.test(query)
      const hits = [...r.files()].filter(([path, text]) =>
        words.every((word) => `${path}\n${text}`.includes(word)),
      )
      const found = elsewhere ? [] : hits
      const items = found.map(([path]) => ({ path, repository: { full_name: 'acme/app' } }))
      return [`${items.length} files`, { total_count: items.length, incomplete_results: false, items }]
    },
    reads,
  ),
  tool<{ path?: string; ref?: string; sha?: string }>(
    'get_file_contents',
    'Get file or directory contents',
    'A file, or the paths below a directory',
    {
      ...place,
      path: { type: 'string', default: '/', description: 'Path; a directory ends with a slash' },
      ref: string('`refs/heads/{branch}` or `refs/pull/{number}/head`'),
      sha: string('A commit, instead of ref'),
    },
    'owner repo',
    (r, { path = '/', ref, sha }) => {
      const at = sha ?? ref
      if (path.endsWith('/')) {
        const below = path.replace(/^\/+/, '')
        return [`Directory ${path}`, [...r.files(at).keys()].filter((one) => one.startsWith(below))]
      }
      const found = r.file(path.replace(/^\/+/, ''), at)
      const where = sha ? `/sha/${sha}` : ref ? `/${ref}` : ''
      const uri = `repo://acme/app${where}/contents/${found.path}`
      const resource = { uri, mimeType: 'text/plain; charset=utf-8', text: found.content }
      const text = `successfully downloaded text file (SHA: ${found.sha})`
      return {
        content: [
          { type: 'text', text },
          { type: 'resource', resource },
        ],
      }
    },
    reads,
  ),
  tool<Page>(
    'list_branches',
    'List branches',
    'Lists the branches of a repository',
    { ...place, ...paging },
    'owner repo',
    (r, args) => ['Branches', r.branches(args)],
    reads,
  ),
  tool<Page & { sha?: string; author?: string }>(
    'list_commits',
    'List commits',
    'Lists the commits of a branch',
    {
      ...place,
      sha: string('Commit or branch to start from'),
      author: string('Only of this author'),
      ...paging,
    },
    'owner repo',
    (r, args) => ['Commits', r.commits(args)],
    reads,
  ),
  tool<{ branch: string; from_branch?: string }>(
    'create_branch',
    'Create branch',
    'Makes a branch',
    {
      ...place,
      branch: string('Name of the branch'),
      from_branch: string('From this branch, else the default'),
    },
    'owner repo branch',
    (r, args) => [`Created ${args.branch}`, r.createBranch(args.branch, args.from_branch)],
  ),
  tool<{ path: string; content: string; message: string; branch: string; sha?: string }>(
    'create_or_update_file',
    'Create or update file',
    'Writes one file on a branch; an existing one needs its blob SHA',
    {
      ...place,
      path: string('Where'),
      content: string('What'),
      message,
      branch: string('On this branch'),
      sha: string('Blob SHA of the file being replaced'),
    },
    'owner repo path content message branch',
    (r, a) => [`Wrote ${a.path} on ${a.branch}`, r.writeFile(a.branch, a.message, a.path, a.content, a.sha)],
  ),
  tool<{ branch: string; files: { path: string; content: string }[]; message: string }>(
    'push_files',
    'Push files to repository',
    'Writes several files in one commit',
    { ...place, branch: string('To this branch'), files, message },
    'owner repo branch files message',
    (r, a) => [`Pushed ${a.files.length} files to ${a.branch}`, r.pushFiles(a.branch, a.message, a.files)],
  ),
  tool<{ path: string; message: string; branch: string }>(
    'delete_file',
    'Delete file',
    'Deletes one file on a branch',
    { ...place, path: string('Where'), message, branch: string('On this branch') },
    'owner repo path message branch',
    (r, a) => [`Deleted ${a.path} on ${a.branch}`, r.deleteFile(a.branch, a.message, a.path)],
    { readOnlyHint: false, destructiveHint: true },
  ),
  tool<{ name: string; description?: string; private?: boolean }>(
    'create_repository',
    'Create repository',
    'Makes a repository in the account of the token',
    {
      name: string('Name'),
      description: string('Description'),
      private: boolean('Whether it is private'),
      autoInit: boolean('With a README'),
    },
    'name',
    (r, { name, ...rest }) => [`Created ${r.login}/${name}`, r.addRepository(`${r.login}/${name}`, rest)],
  ),
  tool<{ repo: string; organization?: string }>(
    'fork_repository',
    'Fork repository',
    'Copies a repository to the account of the token, or to an organization',
    { ...place, organization: string('Organization to copy to') },
    'owner repo',
    (r, { repo, organization = r.login }) => {
      return [`Forked to ${organization}/${repo}`, r.addRepository(`${organization}/${repo}`, { fork: true })]
    },
  ),
]
