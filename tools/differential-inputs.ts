import type { Random } from './fuzz/random.ts'

/** What inputs are made of: names that the data has, and by server the tools of its profile. */
export type Names = { tools: string[]; byServer: Record<string, string[]> }

const METHODS = [
  ...Array.from({ length: 12 }, () => 'tools/call'),
  ...[
    'tools/list',
    'initialize',
    'resources/read',
    'resources/subscribe',
    'subscriptions/listen',
    'prompts/get',
  ],
  ...['stream/open', 'session/end', 'logging/setLevel', 'completion/complete', 'server/discover', 'foo/bar'],
  ...[
    'elicitation/create',
    'elicitation/create',
    'sampling/createMessage',
    'roots/list',
    'tasks/get',
    'tasks/cancel',
  ],
]
const TO_CLIENT = ['elicitation/create', 'sampling/createMessage', 'roots/list']
const SUBJECTS = [
  { subject: 'alice', groups: ['engineering'] },
  { subject: 'mona', groups: ['engineering', 'maintainers'] },
  { subject: 'eve', groups: ['engineering'], audience: 'bots' },
  { subject: 'rita', groups: ['release-managers'] },
  { subject: 'svc:pr-bot', groups: [] },
  { subject: 'nobody', groups: [] },
  { subject: '', groups: ['Engineering', 'engineering '] },
]

/** Anything, for any place. */
const VALUES = [
  ...[
    'acme',
    'app',
    'main',
    'master',
    'agent/x',
    'feature/y',
    'refs/heads/main',
    'refs/heads/agent/x',
    'release.yml',
  ],
  ...[
    'ACME',
    'other',
    '',
    'acme/app',
    '../app',
    'app.git',
    '.github/workflows/x.yml',
    'README.md',
    'create',
    'APPROVE',
  ],
  ...['repo:acme/app x', 'a\u0000b', '\ud83d\ude00', 'İ', 'ß', 'é', '/merge', 'automerge'],
  ...[null, true, false, 0, -1, 7, 1.5, 1e21, 9007199254740991],
  ...[[], ['acme'], {}, { name: 'acme' }, [[[]]], [{ path: 'a' }, { path: '.git/x' }]],
]

const SQL = [
  ...[
    'select 1',
    'select * from orders where name = ',
    'delete from orders',
    'select pg_sleep(9)',
    'drop table x',
  ],
  ...[
    "'it''s'",
    "'a",
    ' -- c',
    '/* */',
    ';',
    ' ; ',
    'with a as (select 1) select count(*) from a',
    'month_of(d)',
  ],
  ...[
    '"q"',
    "E'\\x'",
    ' into x',
    'EXPLAIN select',
    ' union all ',
    'values (1, 2)',
    '\u00a0',
    '$$',
    'lower(',
    ')',
  ],
]
const PATHS = [
  ...[
    '/srv/docs',
    '/srv/docs/a.md',
    '/srv/docs/drafts/x',
    '/srv/docs/',
    '/srv/docs/../x',
    '/srv/docs/.env',
    '/srv',
  ],
  ...[
    '/srv/docs/SECRET.TXT',
    '/srv/docs/a/.git/config',
    'rel/b/c',
    '/',
    '~/.ssh/id_rsa',
    '/srv/docs//x',
    '/srv/docsx',
  ],
]
const CHANNELS = [
  'C0DEPLOYS',
  '#deploys',
  'C0OTHER',
  'U123',
  'D123',
  'c0deploys',
  '@bob',
  '#a b',
  'GROUP1',
  'im',
]
const TEXTS = [
  'hello',
  'hi <!here>',
  '&lt;!channel&gt;',
  '@everyone',
  '"broadcast"',
  '\\u0021here',
  '<!SUBTEAM^S1>',
]

type Make = (random: Random) => Record<string, unknown>

const joined = ({ pick, int }: Random, from: string[]) =>
  Array.from({ length: 1 + int(4) }, () => pick(from)).join(int(2) === 0 ? ' ' : '')

/** Arguments that the profile of a server looks at. */
const BY_SERVER: Record<string, Make> = {
  github: ({ chance }) => ({
    ...(chance(0.8) && { owner: 'acme', repo: 'app' }),
    ...(chance(0.4) && {
      branch: 'agent/x',
      head: 'agent/x',
      base: 'main',
      ref: 'main',
      workflow_id: 'release.yml',
    }),
    ...(chance(0.2) && { path: 'src/a.txt', method: 'get' }),
  }),
  slack: ({ pick, chance }) => ({
    ...(chance(0.8) && { channel_id: pick(CHANNELS) }),
    ...(chance(0.3) && { channel: pick(CHANNELS) }),
    ...(chance(0.6) && { text: pick(TEXTS) }),
    ...(chance(0.2) && { blocks: pick([[{ text: pick(TEXTS) }], pick(TEXTS)]) }),
    ...(chance(0.2) && {
      channel_types: pick(['public_channel', 'public_channel, private_channel', 'im', 'mpim,x']),
    }),
  }),
  billing: ({ pick, chance }) => ({
    ...(chance(0.9) && { method: pick(['GET', 'POST', 'DELETE', 'get']) }),
    ...(chance(0.9) && {
      path: pick([
        ...[
          '/v1/customers/7',
          '/v1/customers/..',
          '/v1/refunds',
          'https://billing.internal/v1/refunds',
          '/v1/customers/a%2fb',
        ],
        ...['https://billing.internal.evil/v1/refunds', 'v1/refunds', '/v1/customers/7/', '//v1/refunds'],
      ]),
    }),
    ...(chance(0.6) && { body: { amount_cents: pick([1, 10000, 10001, 0, '5', null]) } }),
    ...(chance(0.5) && { id: pick(['7', 7, 7.5, '..', 'a/b', -1, 1e15]) }),
  }),
  files: ({ pick, chance }) => ({
    ...(chance(0.9) && { path: pick(PATHS) }),
    ...(chance(0.3) && { paths: [pick(PATHS), pick(PATHS)] }),
    ...(chance(0.4) && { source: pick(PATHS), destination: pick(PATHS) }),
    ...(chance(0.2) && { content: 'x' }),
  }),
  db: (random) => ({ [random.pick(['sql', 'sql', 'query'])]: joined(random, SQL) }),
  plain: ({ pick, chance }) => ({
    ...(chance(0.9) && { amount_cents: pick([1, 9999.5, 10000, 10001, 0, '5', null]) }),
    ...(chance(0.9) && { currency: pick(['EUR', 'RON', 'eur', null]) }),
    ...(chance(0.4) && { tags: pick([['a1', 'b'], ['c'], ['a', 'a', 'a'], [], 'a', [1]]) }),
    ...(chance(0.4) && { note: pick(['ok', '', 'too long', 'éé', ['x'], {}]) }),
    ...(chance(0.4) && { path: pick(['/srv/a/b', '/srv/ab', 'rel/b', 'rel/b/../c', '/srv/a/']) }),
  }),
}
const MADE_LIKE: Record<string, string> = { 'github-bound': 'github', adopting: 'slack' }

export function argumentsFor(random: Random, server: string): Record<string, unknown> {
  const args = BY_SERVER[MADE_LIKE[server] ?? server]?.(random) ?? BY_SERVER.plain?.(random) ?? {}
  const KEYS = [
    ...Object.keys(args),
    'base',
    'event',
    'labels',
    'body',
    'pullNumber',
    'files',
    'Owner',
    'ключ',
  ]
  for (let left = random.int(3); left > 0; left--) args[random.pick(KEYS)] = random.pick(VALUES)
  return args
}

const PAGES = [
  { href: 'https://login.acme.com/', scheme: 'https', host: 'login.acme.com', port: 443, path: '/' },
  { href: 'https://login.acme.com:8443/', scheme: 'https', host: 'login.acme.com', port: 8443, path: '/' },
  { href: 'http://login.acme.com/', scheme: 'http', host: 'login.acme.com', port: 80, path: '/' },
  { href: 'https://other/', scheme: 'https', host: 'other' },
]
const URIS = [
  'repo://acme/app/x',
  'repo://acme/app/../y',
  'file:///handbook/',
  'file:///handbook/x',
  'repo://other/app/x',
]

export function generate(random: Random, names: Names): object {
  const { pick, chance, int } = random
  const method = pick(METHODS)
  const servers = Object.keys(names.byServer)
  const server = chance(0.97) ? pick(servers) : pick(['', 'GitHub', 'nowhere'])
  const own = names.byServer[server] ?? []
  const tool = () =>
    own.length > 0 && chance(0.85) ? pick(own) : chance(0.9) ? pick(names.tools) : pick(VALUES)
  const toClient = TO_CLIENT.includes(method)
  const input: Record<string, unknown> = {
    decision_id: `d${int(1e9)}`,
    time: '2026-11-22T20:26:14.008Z',
    time_ms: 1795379174008 + int(7) * 86_400_000,
    server,
    protocol_version: pick(['2025-11-25', '2026-07-28']),
    direction: chance(0.95) === toClient ? 'to_client' : 'to_server',
    kind: chance(0.85) ? 'request' : pick(['notification', 'stream', 'response']),
    method,
    identity: {
      source: 'pomerium',
      ...pick(SUBJECTS),
      claims: {},
      ...(chance(0.05) && { groups: pick(VALUES) }),
    },
    params: {},
    http: {},
  }
  if (method === 'tools/call') {
    input.tool = {
      name: tool(),
      declared: pick(['listed', 'pinned', 'unknown']),
      ...(chance(0.3) && { annotations: { readOnlyHint: pick([true, false, ...VALUES]) } }),
      ...(chance(0.5) && { digest: pick(['sha256:aa', 'sha256:bb', 'sha256:cc']) }),
      ...(chance(0.2) && { closed: pick([true, false, null]) }),
    }
    input.arguments = chance(0.97) ? argumentsFor(random, server) : pick(VALUES)
    if (chance(0.6)) input.undeclared_arguments = chance(0.7) ? [] : pick([['/Owner'], ...VALUES])
  }
  if (method === 'prompts/get') input.prompt = { name: pick(['greet', ...VALUES]) }
  if (method === 'completion/complete')
    Object.assign(input, chance(0.5) ? { prompt: { name: 'greet' } } : { template: 'file:///{path}' })
  if (method.startsWith('resources/'))
    input.resource = { uri: pick(URIS), scheme: 'repo', host: 'acme', path: '/app/x' }
  if (method === 'subscriptions/listen' && chance(0.8))
    input.resources = [{ uri: pick(URIS) }, { uri: pick(URIS) }]
  if (method.startsWith('tasks/')) input.task = { owner: pick(['same', 'other', 'unknown']) }
  if (method === 'elicitation/create')
    input.elicitation = chance(0.5)
      ? { mode: 'url', message: 'go', url: pick(PAGES) }
      : {
          mode: 'form',
          message: pick(['Which?', 'Your Kenn-Wort?', 'pass word']),
          schema: pick([{}, { properties: { pin: {} } }]),
        }
  if (chance(0.5))
    input.items = Array.from({ length: int(6) }, () => ({
      kind: pick([
        ...['tool', 'tool', 'tool', 'tool', 'prompt', 'resource', 'template', 'link', 'embedded'],
        ...['completion', 'task', 'capability'],
      ]),
      key: chance(0.75) ? tool() : pick([...URIS, 'greet', 'tasks', 'tools', 'file:///{path}', ...VALUES]),
      ...(chance(0.3) && { annotations: { readOnlyHint: pick([true, ...VALUES]) } }),
      ...(chance(0.5) && { digest: pick(['sha256:aa', 'sha256:bb']) }),
      ...(chance(0.5) && { inputSchema: schemaOf(random) }),
    }))
  // Now and then something is missing, or of another type altogether.
  if (chance(0.07)) delete input[pick(Object.keys(input))]
  if (chance(0.05)) input[pick(Object.keys(input))] = pick(VALUES)
  return input
}

const schemaOf = ({ pick, chance }: Random) => ({
  type: 'object',
  properties: {
    owner: pick([{ type: 'string' }, { enum: ['acme', 'other'] }, true, null]),
    repo: { type: 'string', maxLength: 100 },
    ...(chance(0.5) && { channel_id: { type: 'string' }, method: { enum: ['get', 'delete'] }, ref: {} }),
  },
})
