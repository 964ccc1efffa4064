// A repository in memory, in the shape of GitHub's: enough to see that an allowed merge moves files and that a
// refused one does not. No I/O. Results have the names of GitHub's API.
import { blobSha, createGit, Refusal } from './git.ts'
import { seed } from './seed.ts'

type Page = { page?: number; perPage?: number }
type Thread = {
  number: number
  title: string
  body: string
  user: string
  comments: { user: string; body: string }[]
}
type Issue = Thread & { state: 'open' | 'closed'; labels: string[]; assignees: string[] }
type PullRequest = Thread & {
  state: 'open' | 'closed'
  draft: boolean
  head: string
  base: string
  reviewers: string[]
  reviews: { id: number; user: string; state: string; body: string }[]
  merged?: { at: string; commit: string; head: string }
}
type Run = {
  id: number
  workflow_id: string
  ref: string
  head_sha: string
  status: 'queued'
  inputs: object
}
type PullRequestDraft = {
  title: string
  head: string
  base: string
  body?: string
  draft?: boolean
  user?: string
}
export type PullRequestChange = Partial<
  Pick<PullRequest, 'title' | 'body' | 'base' | 'state' | 'draft' | 'reviewers'>
>

export type Repository = ReturnType<typeof createRepository>

const paged = <T>(list: T[], { page = 1, perPage = 30 }: Page): T[] =>
  list.slice((page - 1) * perPage, page * perPage)

const known = <T>(from: Map<number, T>, number: number): T => {
  const found = from.get(number)
  if (!found) throw new Refusal(404, 'Not Found')
  return found
}

export const createRepository = (now: () => Date = () => new Date()) => {
  const [owner, name, login] = ['acme', 'app', 'octo-agent']
  const web = `https://github.com/${owner}/${name}`
  const git = createGit(now, login)
  const issues = new Map<number, Issue>()
  const pulls = new Map<number, PullRequest>()
  const runs: Run[] = []
  const repositories = [{ full_name: `${owner}/${name}`, private: false, fork: false, description: '' }]
  let lastNumber = 0

  const viewIssue = ({ user, comments, labels, ...issue }: Issue) => ({
    ...issue,
    user: { login: user },
    labels: labels.map((label) => ({ name: label })),
    comments: comments.length,
    html_url: `${web}/issues/${issue.number}`,
  })
  const viewPull = ({ user, head, base, comments, reviewers, reviews, merged, ...pull }: PullRequest) => ({
    ...pull,
    merged: merged !== undefined,
    merged_at: merged?.at ?? null,
    merge_commit_sha: merged?.commit ?? null,
    user: { login: user },
    head: { ref: head, sha: merged?.head ?? git.tip(head).sha },
    base: { ref: base, sha: git.tip(base).sha },
    requested_reviewers: reviewers.map((reviewer) => ({ login: reviewer })),
    reviews: reviews.length,
    comments: comments.length,
    html_url: `${web}/pull/${pull.number}`,
  })

  const repository = {
    login,
    /** GitHub takes owner and name in any case, so a policy that compares exactly must expect other spellings. */
    require: (ofOwner: string, ofName: string) => {
      const same = ofOwner.toLowerCase() === owner && ofName.toLowerCase() === name
      if (!same) throw new Refusal(404, 'Not Found')
    },
    addRepository: (full_name: string, { fork = false, private: hidden = false, description = '' } = {}) => {
      if (repositories.some((one) => one.full_name === full_name))
        throw new Refusal(422, 'name already exists on this account')
      const made = { full_name, private: hidden, fork, description }
      repositories.push(made)
      return made
    },

    branches: (page: Page) =>
      paged([...git.branches], page).map(([branch, sha]) => ({ name: branch, commit: { sha } })),
    createBranch: (branch: string, from?: string) => {
      const { sha } = git.branch(branch, from)
      return { ref: `refs/heads/${branch}`, object: { type: 'commit', sha } }
    },
    commits: ({ sha, author, ...page }: Page & { sha?: string; author?: string }) => {
      const mine = git.log(sha).filter((one) => author === undefined || one.author === author)
      return paged(mine, page).map(({ files: _, ...one }) => one)
    },
    files: (ref = 'main') => {
      const pull = /^refs\/pull\/(\d+)\/head$/.exec(ref)
      return git.at(pull ? known(pulls, Number(pull[1])).head : ref).files
    },
    file: (path: string, ref?: string) => {
      const content = repository.files(ref).get(path)
      if (content === undefined) throw new Refusal(404, 'Not Found')
      return { path, content, sha: blobSha(content) }
    },
    writeFile: (branch: string, message: string, path: string, content: string, sha?: string) => {
      const before = git.tip(branch).files.get(path)
      if (before !== undefined && sha !== blobSha(before))
        throw new Refusal(409, `${path} exists: its blob SHA must be supplied as "sha"`)
      const commit = git.write(branch, message, [{ path, content }])
      return { content: { path, sha: blobSha(content) }, commit: { sha: commit.sha } }
    },
    pushFiles: (branch: string, message: string, files: { path: string; content: string }[]) => {
      const { sha } = git.write(branch, message, files)
      return { ref: `refs/heads/${branch}`, object: { type: 'commit', sha } }
    },
    deleteFile: (branch: string, message: string, path: string) => {
      if (!git.tip(branch).files.has(path)) throw new Refusal(404, 'Not Found')
      return { commit: { sha: git.write(branch, message, [{ path }]).sha }, content: null }
    },

    issues: () => [...issues.values()].map(viewIssue),
    issue: (number: number) => viewIssue(known(issues, number)),
    createIssue: (given: Partial<Issue> & { title: string }) => {
      const number = ++lastNumber
      const { title, body = '', labels = [], assignees = [], user = login } = given
      issues.set(number, { number, title, body, state: 'open', user, labels, assignees, comments: [] })
      return repository.issue(number)
    },
    comment: (number: number, body: string) => {
      const { comments } = issues.get(number) ?? known(pulls, number)
      return { id: comments.push({ user: login, body }), body, user: { login } }
    },

    pulls: () => [...pulls.values()].map(viewPull),
    pull: (number: number) => viewPull(known(pulls, number)),
    createPull: ({ title, base, body = '', draft = false, user = login, ...given }: PullRequestDraft) => {
      const head = given.head.replace(/^acme:/i, '')
      if (git.contains(base, head)) throw new Refusal(422, `No commits between ${base} and ${head}`)
      if (
        [...pulls.values()].some((pull) => pull.state === 'open' && pull.head === head && pull.base === base)
      )
        throw new Refusal(422, `A pull request already exists for ${owner}:${head}`)
      const number = ++lastNumber
      const thread: Thread = { number, title, body, user, comments: [] }
      pulls.set(number, { ...thread, state: 'open', draft, head, base, reviewers: [], reviews: [] })
      return repository.pull(number)
    },
    updatePull: (number: number, { title, body, base, state, draft, reviewers }: PullRequestChange) => {
      const pull = known(pulls, number)
      if (pull.merged && (base ?? state) !== undefined) throw new Refusal(422, 'The pull request is merged')
      if (base !== undefined) git.tip(base)
      for (const [key, value] of Object.entries({ title, body, base, state, draft, reviewers }))
        if (value !== undefined) Object.assign(pull, { [key]: value })
      return viewPull(pull)
    },
    /** Brings the base branch's changes into the head branch. */
    updatePullBranch: (number: number, expected?: string) => {
      const { head, base } = known(pulls, number)
      if (expected !== undefined && expected !== git.tip(head).sha)
        throw new Refusal(422, "expected head sha didn't match current head ref")
      return { sha: git.merge(head, base, `Merge branch '${base}' into ${head}`).sha }
    },
    review: (number: number, event: string, body: string) => {
      const { reviews } = known(pulls, number)
      const state = { APPROVE: 'APPROVED', REQUEST_CHANGES: 'CHANGES_REQUESTED' }[event] ?? 'COMMENTED'
      const made = { id: reviews.length + 1, user: login, state, body }
      reviews.push(made)
      return made
    },
    mergePull: (number: number, method = 'merge', title?: string, detail = '') => {
      const pull = known(pulls, number)
      if (pull.state === 'closed' || pull.draft) throw new Refusal(405, 'Pull Request is not mergeable')
      const usual =
        method === 'merge' ? `Merge pull request #${number} from ${owner}/${pull.head}` : pull.title
      const message = [title ?? usual, detail].filter(Boolean).join('\n\n')
      const head = git.tip(pull.head).sha
      const { sha } = git.merge(pull.base, pull.head, message, method !== 'merge')
      pull.state = 'closed'
      pull.merged = { at: now().toISOString(), commit: sha, head }
      return { sha, merged: true, message: 'Pull Request successfully merged' }
    },

    runWorkflow: (workflow_id: string, ref: string, inputs: object = {}): Run => {
      const { files, sha } = git.at(ref)
      if (!files.has(`.github/workflows/${workflow_id}`)) throw new Refusal(404, 'Not Found')
      const run: Run = { id: 1001 + runs.length, workflow_id, ref, head_sha: sha, status: 'queued', inputs }
      runs.push(run)
      return run
    },

    /** What there is to show, as a copy. */
    state: () => {
      const { sha, message, files } = git.tip('main')
      return {
        pullRequests: repository.pulls().map(({ number, title, state, merged, head, base }) => {
          return { number, title, state, merged, head: head.ref, base: base.ref }
        }),
        main: { commit: sha, message, files: Object.fromEntries(files) },
        branches: [...git.branches.keys()],
        issues: repository
          .issues()
          .map(({ number, title, state, comments }) => ({ number, title, state, comments })),
        workflowRuns: runs.map((run) => ({ ...run })),
        repositories: repositories.map(({ full_name }) => full_name),
      }
    },
  }

  git.commit('main', 'Start the app', new Map(Object.entries(seed.files)), [], 'ada')
  for (const issue of seed.issues) repository.createIssue(issue)
  lastNumber = seed.firstPull - 1
  for (const { branch, path, content, ...pull } of seed.pulls) {
    git.branch(branch)
    git.write(branch, pull.title, [{ path, content }], pull.user)
    repository.createPull({ ...pull, head: branch, base: 'main' })
  }
  return repository
}
