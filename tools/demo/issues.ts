// The tools on issues, pull requests and workflows.
import type { PullRequestChange } from './repository.ts'
import {
  boolean,
  type DemoTool,
  issue_number,
  number,
  oneOf,
  type Page,
  paging,
  perPage,
  place,
  pullNumber,
  reads,
  string,
  strings,
  tool,
} from './tool.ts'

export const issues: DemoTool[] = [
  tool<{ state?: string; labels?: string[]; perPage?: number; after?: string }>(
    'list_issues',
    'List issues',
    'Lists the issues of a repository',
    {
      ...place,
      state: oneOf('Only these; both when absent', 'OPEN', 'CLOSED'),
      labels: strings('Only with one of these labels'),
      orderBy: oneOf('Order by, with direction', 'CREATED_AT', 'UPDATED_AT', 'COMMENTS'),
      direction: oneOf('Direction, with orderBy', 'ASC', 'DESC'),
      since: string('Only those changed since, ISO 8601'),
      perPage,
      after: string('endCursor of the page before'),
    },
    'owner repo',
    (r, { state, labels = [], perPage = 30, after = '0' }) => {
      const found = r
        .issues()
        .filter((issue) => state === undefined || issue.state === state.toLowerCase())
        .filter((issue) => labels.length === 0 || issue.labels.some((label) => labels.includes(label.name)))
      const end = Number(after) + perPage
      const pageInfo = { hasNextPage: found.length > end, endCursor: String(end) }
      return [
        `${found.length} issues`,
        { issues: found.slice(end - perPage, end), totalCount: found.length, pageInfo },
      ]
    },
    reads,
  ),
  tool<{ issue_number: number }>(
    'get_issue',
    'Get issue details',
    'One issue of a repository',
    { ...place, issue_number },
    'owner repo issue_number',
    (r, args) => [`Issue #${args.issue_number}`, r.issue(args.issue_number)],
    reads,
  ),
  tool<{ title: string; body?: string; labels?: string[]; assignees?: string[] }>(
    'create_issue',
    'Open new issue',
    'Opens an issue in a repository',
    {
      ...place,
      title: string('Title'),
      body: string('Text'),
      assignees: strings('Users to assign'),
      labels: strings('Labels'),
      milestone: number('Number of the milestone'),
      type: string('Type of the issue'),
    },
    'owner repo title',
    (r, { title, body = '', labels = [], assignees = [] }) => {
      const issue = r.createIssue({ title, body, labels, assignees })
      return [`Opened issue #${issue.number}`, issue]
    },
  ),
  tool<{ issue_number: number; body: string }>(
    'add_issue_comment',
    'Add comment to issue',
    'Comments on an issue or pull request',
    { ...place, issue_number, body: string('Text') },
    'owner repo issue_number body',
    (r, args) => [`Commented on #${args.issue_number}`, r.comment(args.issue_number, args.body)],
  ),
  tool<{ title: string; head: string; base: string; body?: string; draft?: boolean }>(
    'create_pull_request',
    'Open new pull request',
    'Opens a pull request',
    {
      ...place,
      title: string('Title'),
      body: string('Text'),
      head: string('Branch with the changes'),
      base: string('Branch to merge into'),
      draft: boolean('As a draft'),
      maintainer_can_modify: boolean('Whether maintainers may edit'),
    },
    'owner repo title head base',
    (r, { title, head, base, body = '', draft = false }) => {
      const pull = r.createPull({ title, head, base, body, draft })
      return [`Opened pull request #${pull.number} from ${pull.head.ref} into ${base}`, pull]
    },
  ),
  tool<{ pullNumber: number }>(
    'get_pull_request',
    'Get pull request details',
    'One pull request of a repository',
    { ...place, pullNumber },
    'owner repo pullNumber',
    (r, args) => [`Pull request #${args.pullNumber}`, r.pull(args.pullNumber)],
    reads,
  ),
  tool<{ state?: string; head?: string; base?: string } & Page>(
    'list_pull_requests',
    'List pull requests',
    'Lists the pull requests of a repository',
    {
      ...place,
      state: oneOf('Only these', 'open', 'closed', 'all'),
      head: string('Only from this owner and branch'),
      base: string('Only into this branch'),
      sort: oneOf('Sort by', 'created', 'updated', 'popularity', 'long-running'),
      direction: oneOf('Direction', 'asc', 'desc'),
      ...paging,
    },
    'owner repo',
    (r, { state = 'open', head, base, page = 1, perPage = 30 }) => {
      const found = r
        .pulls()
        .filter((pull) => state === 'all' || pull.state === state)
        .filter((pull) => base === undefined || pull.base.ref === base)
        .filter((pull) => head === undefined || `acme:${pull.head.ref}` === head || pull.head.ref === head)
      return [`${found.length} pull requests`, found.slice((page - 1) * perPage, page * perPage)]
    },
    reads,
  ),
  tool<{ pullNumber: number } & PullRequestChange>(
    'update_pull_request',
    'Edit pull request',
    'Changes a pull request: its title, text, base or state',
    {
      ...place,
      pullNumber,
      title: string('New title'),
      body: string('New text'),
      state: oneOf('New state', 'open', 'closed'),
      draft: boolean('As a draft, or ready for review'),
      base: string('New branch to merge into'),
      maintainer_can_modify: boolean('Whether maintainers may edit'),
      reviewers: strings('Users to ask for a review'),
    },
    'owner repo pullNumber',
    (r, { pullNumber, ...change }) => [
      `Changed pull request #${pullNumber}`,
      r.updatePull(pullNumber, change),
    ],
  ),
  tool<{ pullNumber: number; expectedHeadSha?: string }>(
    'update_pull_request_branch',
    'Update pull request branch',
    "Brings the base branch's changes into a pull request",
    { ...place, pullNumber, expectedHeadSha: string('What its head must be') },
    'owner repo pullNumber',
    (r, { pullNumber, expectedHeadSha }) => [
      `Updated the branch of pull request #${pullNumber}`,
      r.updatePullBranch(pullNumber, expectedHeadSha),
    ],
  ),
  tool<{ pullNumber: number; event: string; body: string }>(
    'create_and_submit_pull_request_review',
    'Create and submit a pull request review without comments',
    'Reviews a pull request',
    {
      ...place,
      pullNumber,
      body: string('Text'),
      event: oneOf('The verdict', 'APPROVE', 'REQUEST_CHANGES', 'COMMENT'),
      commitID: string('The commit that was reviewed'),
    },
    'owner repo pullNumber body event',
    (r, a) => [`Reviewed pull request #${a.pullNumber}: ${a.event}`, r.review(a.pullNumber, a.event, a.body)],
  ),
  tool<{ pullNumber: number; merge_method?: string; commit_title?: string; commit_message?: string }>(
    'merge_pull_request',
    'Merge pull request',
    'Merges a pull request',
    {
      ...place,
      pullNumber,
      commit_title: string('Title of the merge commit'),
      commit_message: string('More text for it'),
      merge_method: oneOf('How', 'merge', 'squash', 'rebase'),
    },
    'owner repo pullNumber',
    (r, { pullNumber, merge_method, commit_title, commit_message }) => {
      const merged = r.mergePull(pullNumber, merge_method, commit_title, commit_message)
      return [`Merged pull request #${pullNumber}`, merged]
    },
  ),
  tool<{ workflow_id: string; ref: string; inputs?: object }>(
    'run_workflow',
    'Run workflow',
    'Runs a workflow of Actions',
    {
      ...place,
      workflow_id: string('Number or file name, as ci.yml'),
      ref: string('Branch or tag'),
      inputs: { type: 'object', properties: {}, description: 'What the workflow takes' },
    },
    'owner repo workflow_id ref',
    (r, a) => [`Queued ${a.workflow_id} on ${a.ref}`, r.runWorkflow(a.workflow_id, a.ref, a.inputs)],
  ),
]
