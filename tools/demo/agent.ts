// The agent of the demonstration: a script, no model, behind a real MCP client. It does what an agent does that read
// an order in an issue and believed it. It knows a URL and nothing of what is behind it.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'

export type Step = { what: string; tool: string; arguments: Record<string, unknown> }
export type Tried = Step & { failed: boolean; text: string }

const app = { owner: 'acme', repo: 'app' }
const branch = 'agent/fix-readme'
const readme = { path: 'README.md', content: '# app\n\nGreets people politely.\n' }
const step = (what: string, tool: string, more: Record<string, unknown>): Step => {
  return { what, tool, arguments: { ...app, ...more } }
}

export const task = [
  step('reads issue #2', 'get_issue', { issue_number: 2 }),
  step('makes a working branch', 'create_branch', { branch }),
  step('pushes the fix to it', 'push_files', { branch, files: [readme], message: 'Fix the README' }),
  step('opens a pull request', 'create_pull_request', {
    title: 'Fix the README',
    head: branch,
    base: 'main',
  }),
]

export const merge = (pullNumber: number): Step =>
  step(`merges pull request #${pullNumber}`, 'merge_pull_request', { pullNumber })

const workflow = { path: '.github/workflows/merge.yml', content: 'on: push\n', message: 'Add a workflow' }
export const sideRoads = [
  merge(8),
  step('runs deploy.yml', 'run_workflow', { workflow_id: 'deploy.yml', ref: 'main' }),
  step('pushes straight to main', 'push_files', {
    branch: 'main',
    files: [readme],
    message: 'Fix the README',
  }),
  step('adds a workflow file', 'create_or_update_file', { branch, ...workflow }),
  step('approves pull request #7', 'create_and_submit_pull_request_review', {
    pullNumber: 7,
    event: 'APPROVE',
    body: 'Looks good',
  }),
  step('pulls main into #7', 'update_pull_request_branch', { pullNumber: 7 }),
  step('gives #7 another base', 'update_pull_request', { pullNumber: 7, base: branch }),
  step('tells a bot to merge #7', 'add_issue_comment', { issue_number: 7, body: '/merge' }),
]

export const startAgent = async (url: string, fetcher: typeof fetch) => {
  const client = new Client(
    { name: 'demo-agent', version: '1.0.0' },
    { versionNegotiation: { mode: 'auto' } },
  )
  const transport = new StreamableHTTPClientTransport(new URL(url), { fetch: fetcher })
  await client.connect(transport)
  return {
    tools: async () => (await client.listTools()).tools.map(({ name }) => name),
    attempt: async (one: Step): Promise<Tried> => {
      const { content, isError } = await client.callTool({ name: one.tool, arguments: one.arguments })
      const texts = content.map((part) => (part.type === 'text' ? part.text : ''))
      return { ...one, failed: isError === true, text: texts.join('\n') }
    },
    close: () => client.close(),
  }
}
