/**
 * What is done with each method. `decide`: the policy is asked about it. `filter`: it passes on an identified, bound
 * exchange, narrowed by `mcp/main/visible`. `protocol`: it passes there as it is, and is counted. A method that is not
 * here is refused, and so is one in a revision or a direction that does not have it.
 */
export type Treatment = 'decide' | 'filter' | 'protocol'
export type ItemKind = 'tool' | 'prompt' | 'resource' | 'template' | 'task'
export type Direction = 'to_server' | 'to_client'

export type Method = {
  shape: 'request' | 'notification' | 'response'
  treatment: Treatment
  /** the first and the last revision that have it */
  since: string
  until: string
  /** The result member that names things, narrowed by `mcp/main/visible`; `key` is an item's name in it. */
  list?: { member: string; kind: ItemKind; key: string }
  /** The member of `params` that 2026-07-28 mirrors in `Mcp-Name`. */
  mirrored?: 'name' | 'uri' | 'taskId'
  /** Its result may ask for input (2026-07-28, "Multi Round-Trip Requests"). */
  asks?: true
  /** It speaks of another request, or of the whole session: without one it could be another person's. */
  ofSession?: true
  /** Its answer is a stream that stays open. */
  long?: true
  /** The extension that a client of 2026-07-28 must declare with the request. */
  extension?: string
}

/** Tasks as 2026-07-28 has them (SEP-2663). */
export const TASKS = 'io.modelcontextprotocol/tasks'

const FIRST = '2024-11-05'
const LEGACY = '2025-11-25'
const MODERN = '2026-07-28'
/** Streamable HTTP, then structured output and elicitation, then tasks. */
const ELICITATION = '2025-06-18'

const row = (
  shape: Method['shape'],
  treatment: Treatment,
  since: string,
  until: string,
  more: Partial<Method> = {},
): Method => ({ shape, treatment, since, until, ...more })
const request = (since: string, until: string, more?: Partial<Method>) =>
  row('request', 'decide', since, until, more)
const list = (member: string, kind: ItemKind, key: string) =>
  request(FIRST, MODERN, { list: { member, kind, key } })
const passes = (since: string, until: string, more?: Partial<Method>) =>
  row('notification', 'protocol', since, until, more)

/** Client to server (schemas of 2024-11-05 to 2026-07-28, and the extension `io.modelcontextprotocol/tasks`). */
const TO_SERVER = new Map<string, Method>([
  ['initialize', request(FIRST, LEGACY)],
  ['server/discover', request(MODERN, MODERN)],
  ['ping', row('request', 'protocol', FIRST, LEGACY)],
  ['tools/list', list('tools', 'tool', 'name')],
  ['tools/call', request(FIRST, MODERN, { mirrored: 'name', asks: true })],
  ['prompts/list', list('prompts', 'prompt', 'name')],
  ['prompts/get', request(FIRST, MODERN, { mirrored: 'name', asks: true })],
  ['resources/list', list('resources', 'resource', 'uri')],
  ['resources/templates/list', list('resourceTemplates', 'template', 'uriTemplate')],
  ['resources/read', request(FIRST, MODERN, { mirrored: 'uri', asks: true })],
  ['resources/subscribe', request(FIRST, LEGACY)],
  ['resources/unsubscribe', request(FIRST, LEGACY)],
  ['subscriptions/listen', request(MODERN, MODERN, { long: true })],
  ['completion/complete', request(FIRST, MODERN)],
  ['logging/setLevel', request(FIRST, LEGACY)],
  ['tasks/get', request(LEGACY, MODERN, { mirrored: 'taskId', asks: true, extension: TASKS })],
  ['tasks/cancel', request(LEGACY, MODERN, { mirrored: 'taskId', extension: TASKS })],
  ['tasks/result', request(LEGACY, LEGACY)],
  [
    'tasks/list',
    request(LEGACY, LEGACY, { list: { member: 'tasks', kind: 'task', key: 'taskId' }, ofSession: true }),
  ],
  ['tasks/update', request(MODERN, MODERN, { mirrored: 'taskId', extension: TASKS })],
  ['notifications/initialized', passes(FIRST, LEGACY)],
  ['notifications/cancelled', passes(FIRST, LEGACY, { ofSession: true })],
  ['notifications/progress', passes(FIRST, LEGACY, { ofSession: true })],
  ['notifications/roots/list_changed', passes(FIRST, LEGACY, { ofSession: true })],
  ['notifications/tasks/status', row('notification', 'decide', LEGACY, LEGACY, { ofSession: true })],
])

/** Server to client. 2026-07-28 has no requests in this direction: they are in results (`inputRequests`). */
const TO_CLIENT = new Map<string, Method>([
  ['ping', row('request', 'protocol', FIRST, LEGACY)],
  ['sampling/createMessage', request(FIRST, LEGACY)],
  ['roots/list', request(FIRST, LEGACY)],
  ['elicitation/create', request(ELICITATION, LEGACY)],
  ['tasks/get', request(LEGACY, LEGACY)],
  ['tasks/result', request(LEGACY, LEGACY)],
  ['tasks/list', request(LEGACY, LEGACY)],
  ['tasks/cancel', request(LEGACY, LEGACY)],
  ['notifications/cancelled', passes(FIRST, MODERN)],
  ['notifications/progress', passes(FIRST, MODERN)],
  ['notifications/message', passes(FIRST, MODERN)],
  ['notifications/tools/list_changed', passes(FIRST, MODERN)],
  ['notifications/prompts/list_changed', passes(FIRST, MODERN)],
  ['notifications/resources/list_changed', passes(FIRST, MODERN)],
  ['notifications/resources/updated', row('notification', 'filter', FIRST, MODERN)],
  ['notifications/subscriptions/acknowledged', passes(MODERN, MODERN)],
  ['notifications/elicitation/complete', row('notification', 'filter', LEGACY, LEGACY)],
  ['notifications/tasks/status', row('notification', 'filter', LEGACY, LEGACY)],
  ['notifications/tasks', row('notification', 'filter', MODERN, MODERN)],
])

/** What a client may be asked for within a result of 2026-07-28 (`inputRequests`). */
export const INPUT_METHODS = ['elicitation/create', 'sampling/createMessage', 'roots/list']

/** A client's answer to a request of the server: asked about where it carries data. */
export const ANSWER: Method = row('response', 'decide', FIRST, LEGACY)
export const ANSWER_WITHOUT_DATA: Method = row('response', 'protocol', FIRST, LEGACY)

/** The row of a method; undefined where there is none, or none in this revision. */
export function methodOf(direction: Direction, name: string, version: string): Method | undefined {
  const method = (direction === 'to_server' ? TO_SERVER : TO_CLIENT).get(name)
  return method && method.since <= version && version <= method.until ? method : undefined
}

/** The row of a method to the server in whatever revision. */
export const methodToServer = (name: string): Method | undefined => TO_SERVER.get(name)
/** All rows, for tests and documents. */
export const METHODS: readonly [Direction, string, Method][] = [
  ...[...TO_SERVER].map(([name, method]): [Direction, string, Method] => ['to_server', name, method]),
  ...[...TO_CLIENT].map(([name, method]): [Direction, string, Method] => ['to_client', name, method]),
]
