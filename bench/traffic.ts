import { readFileSync } from 'node:fs'
import { parse } from 'yaml'

/** What is asked in the measurement, and what the upstream answers to it. */
export type Kind = 'call' | 'list'
export const KINDS: Kind[] = ['call', 'list']
export const TITLES: Record<Kind, string> = {
  call: '`tools/call`, about 600 bytes, an answer of about 400 bytes',
  list: '`tools/list`, 100 tools, about 60 KB',
}

const VERSION = '2026-07-28'
const META = {
  'io.modelcontextprotocol/protocolVersion': VERSION,
  'io.modelcontextprotocol/clientInfo': { name: 'bench', version: '1.0.0' },
  'io.modelcontextprotocol/clientCapabilities': {},
}
const TOOL = 'create_issue'
const CALL = {
  name: TOOL,
  arguments: {
    owner: 'acme',
    repo: 'app',
    title: 'The export stops after the first page of results',
    body: 'Steps: open the report of last month, export it as CSV, open the file. It has 100 rows; the report shows 2,481. The log of the worker says that the cursor was reset between two requests.',
    labels: ['bug', 'export'],
  },
  _meta: META,
}

const METHODS: Record<Kind, { method: string; name?: string; params: object }> = {
  call: { method: 'tools/call', name: TOOL, params: CALL },
  list: { method: 'tools/list', params: { _meta: META } },
}

/** Requests as they are on the wire. Ids have one width, so that all requests and all answers have one length. */
export function requestsOf(kind: Kind, path: string): (n: number, assertion: string) => string {
  const { method, name, params } = METHODS[kind]
  const body = JSON.stringify({ jsonrpc: '2.0', id: idOf(0), method, params })
  const [before, after] = body.split(String(idOf(0))) as [string, string]
  const head = [
    `POST ${path} HTTP/1.1`,
    'host: 127.0.0.1',
    'content-type: application/json',
    'accept: application/json, text/event-stream',
    `mcp-protocol-version: ${VERSION}`,
    `mcp-method: ${method}`,
    ...(name === undefined ? [] : [`mcp-name: ${name}`]),
    `content-length: ${body.length}`,
    'x-pomerium-jwt-assertion: ',
  ].join('\r\n')
  return (n, assertion) => `${head}${assertion}\r\n\r\n${before}${idOf(n)}${after}`
}

export const idOf = (n: number): number => 1_000_000 + (n % 9_000_000)

/** Undefined if this is the answer that `requestsOf(kind, …)` is to get, else what is wrong with it. */
export function faultOf(kind: Kind, n: number, text: string): string | undefined {
  const answer = JSON.parse(text) as { id?: unknown; result?: Record<string, unknown> }
  if (answer.id !== idOf(n) || !answer.result) return `not the answer: ${text.slice(0, 300)}`
  if (kind === 'call') {
    const content = answer.result.content as { text?: string }[] | undefined
    const good = answer.result.isError !== true && content?.[0]?.text === ISSUE
    return good ? undefined : `not the result of the call: ${text.slice(0, 300)}`
  }
  const { tools } = answer.result
  const good = Array.isArray(tools) && tools.length >= 20 && tools.some((tool) => tool.name === TOOL)
  return good ? undefined : `not the list of tools: ${text.slice(0, 300)}`
}

const ISSUE = JSON.stringify({
  number: 4711,
  html_url: 'https://github.com/acme/app/issues/4711',
  state: 'open',
  title: CALL.arguments.title,
  user: 'bench',
  created_at: '2026-11-22T10:00:00Z',
})
const ISSUE_RESULT = { content: [{ type: 'text', text: ISSUE }], isError: false, resultType: 'complete' }

/** The `result` of an answer, as JSON. */
export function resultTexts(): Record<string, string> {
  return { 'tools/call': JSON.stringify(ISSUE_RESULT), 'tools/list': JSON.stringify({ tools: tools() }) }
}

/** A hundred tools by the names that the policy library knows of GitHub's server, so that it has to look each up. */
function tools(): object[] {
  const file = new URL('../rego/mcp/profiles/github/data.yaml', import.meta.url)
  const known = parse(readFileSync(file, 'utf8')) as { tools: Record<string, object> }
  return Object.keys(known.tools)
    .slice(0, 100)
    .map((name) => ({
      name,
      title: name.replaceAll('_', ' '),
      description: `What ${name} does, what it needs, and what it gives back, told at the length that is common.`,
      annotations: { readOnlyHint: name.startsWith('get') || name.startsWith('list') },
      inputSchema: {
        type: 'object',
        properties: {
          owner: { type: 'string', description: 'Owner of the repository' },
          repo: { type: 'string', description: 'Name of the repository' },
          title: { type: 'string' },
          body: { type: 'string' },
          labels: { type: 'array', items: { type: 'string' } },
        },
        required: ['owner', 'repo'],
      },
    }))
}
