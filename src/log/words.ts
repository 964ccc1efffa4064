import { isObject, type Json, type JsonObject } from '../mcp/strict-json.ts'

/**
 * Events in words, for people. What callers chose is in them: nothing that a terminal would obey, or that would look like
 * a line of ours, is left of it.
 */
const CONTROLS = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cs}]/gu
export const printable = (text: string): string => text.replace(CONTROLS, '\ufffd')

const text = (value: Json | undefined): string =>
  value === undefined ? '' : printable(typeof value === 'string' ? value : JSON.stringify(value))
const at = (event: JsonObject, ...path: string[]): Json | undefined =>
  path.reduce<Json | undefined>((node, key) => (isObject(node) ? node[key] : undefined), event)
const list = (value: Json | undefined): Json[] => (Array.isArray(value) ? value : [])

export const kindOf = (event: JsonObject): string => text(at(event, 'custom', 'event'))
export const dispositionOf = (event: JsonObject): string => text(at(event, 'custom', 'disposition'))
export const seqIn = (event: JsonObject): number => Number(at(event, 'custom', 'seq'))
export const toolOf = (event: JsonObject): string =>
  text(at(event, 'input', 'tool', 'name') ?? at(event, 'custom', 'stripped', 'tool'))
/** All by which the person of an event may be named. */
export const usersOf = (event: JsonObject): string[] =>
  [
    at(event, 'input', 'identity', 'email'),
    at(event, 'input', 'identity', 'subject'),
    at(event, 'custom', 'subject'),
    at(event, 'custom', 'stripped', 'subject'),
  ].flatMap((name) => (typeof name === 'string' && name !== '' ? [name] : []))

const whatOf = (event: JsonObject): string => {
  const method = text(
    at(event, 'input', 'method') ??
      at(event, 'custom', 'stripped', 'method') ??
      at(event, 'custom', 'method'),
  )
  const name =
    toolOf(event) || text(at(event, 'input', 'prompt', 'name') ?? at(event, 'input', 'resource', 'uri'))
  return [method, name].filter((part) => part !== '').join(' ')
}
const codesOf = (event: JsonObject): string =>
  list(at(event, 'result', 'reasons'))
    .map((reason) => text(at(reason as JsonObject, 'code')))
    .join(', ')

/** One line: when, what became of it, who, what, why, which. */
export function lineFor(event: JsonObject): string {
  const kind = kindOf(event)
  const custom = (at(event, 'custom') ?? {}) as JsonObject
  const cause = text(at(event, 'custom', 'cause', 'code'))
  const parts: string[] = [text(event.timestamp)]
  if (kind === 'decision')
    parts.push(dispositionOf(event), printable(usersOf(event)[0] ?? '-'), whatOf(event), codesOf(event))
  else if (kind === 'outcome') parts.push('outcome', dispositionOf(event), whatOf(event), cameOf(custom))
  else if (kind === 'reject') parts.push('rejected', printable(usersOf(event)[0] ?? '-'), cause)
  else if (kind === 'repeat')
    parts.push(
      'repeated',
      `${text(custom.count)} times`,
      whatOf(event),
      printable(usersOf(event)[0] ?? ''),
      cause,
    )
  else if (kind === 'checkpoint') parts.push('checkpoint', `of ${text(at(custom, 'tree', 'size'))} records`)
  else parts.push(kind, text(custom.cause))
  if (kind === 'decision' || kind === 'outcome' || kind === 'reject') parts.push(text(event.decision_id))
  return parts.filter((part) => part !== '').join('  ')
}

function cameOf(custom: JsonObject): string {
  const parts = [
    ENDS[text(custom.end)] ?? text(custom.end),
    custom.status === undefined ? '' : `status ${text(custom.status)}`,
    custom.tool_error === true ? 'the tool reported an error' : '',
    custom.rpc_error === undefined ? '' : `JSON-RPC error ${text(custom.rpc_error)}`,
    custom.hidden === undefined ? '' : `${text(custom.hidden)} of ${text(custom.listed)} hidden`,
    custom.dropped ? `${text(custom.dropped)} messages not delivered` : '',
    text(at(custom, 'cause', 'code')),
    custom.bytes === undefined ? '' : `${text(custom.bytes)} bytes`,
    custom.duration_ms === undefined ? '' : `${text(custom.duration_ms)} ms`,
  ]
  return parts.filter((part) => part !== '').join(', ')
}
const ENDS: Record<string, string> = {
  complete: 'answered in full',
  client_gone: 'the client had gone',
  upstream_failed: 'the server failed',
  cut: 'the stream was cut at its age',
  not_delivered: 'the answer was withheld',
  not_sent: 'it was not sent',
}

/**
 * Everything that is on record of one decision, in plain words.
 * @param refusals what each code of a refusal means
 */
export function explanation(
  id: string,
  events: JsonObject[],
  refusals: Record<string, { text: string }>,
): string {
  const own = events.filter((event) => event.decision_id === id)
  const lines = [`Decision ${printable(id)}`]
  const say = (label: string, words: string) => {
    if (words !== '') lines.push(`  ${`${label}:`.padEnd(12)} ${words}`)
  }
  for (const event of own) {
    const kind = kindOf(event)
    if (kind === 'decision') explainDecision(event, say)
    if (kind === 'reject') {
      const code = text(at(event, 'custom', 'cause', 'code'))
      const meaning = Object.hasOwn(refusals, code) ? refusals[code]?.text : undefined
      say(
        'Refused',
        `${text(event.timestamp)}, status ${text(at(event, 'custom', 'cause', 'status'))} [${code}]`,
      )
      say('Means', meaning ?? '')
      say('By', printable(usersOf(event)[0] ?? 'nobody that could be told'))
      say('Pomerium', text(at(event, 'custom', 'request_id')))
    }
    if (kind === 'outcome')
      say('Came of it', `${text(event.timestamp)} ${cameOf(event.custom as JsonObject)}`)
  }
  const decision = own.find((event) => kindOf(event) === 'decision')
  if (decision && !own.some((event) => kindOf(event) === 'outcome'))
    say(
      'Came of it',
      at(decision, 'result', 'allow') === true
        ? 'nothing is on record: it may still go on, or the process ended'
        : 'nothing: it was not sent to the server',
    )
  for (const event of events) if (event.decision_id !== id) say('Within it', lineFor(event))
  say('Records', own.map((event) => seqIn(event)).join(', '))
  return lines.join('\n')
}

function explainDecision(event: JsonObject, say: (label: string, words: string) => void): void {
  const identity = (at(event, 'input', 'identity') ?? {}) as JsonObject
  const custom = event.custom as JsonObject
  const names = [text(identity.name), text(identity.email)].filter((name) => name !== '')
  const who =
    names.length > 0
      ? `${names.join(', ')} (subject ${text(identity.subject)})`
      : printable(usersOf(event)[0] ?? '')
  say(
    'Who',
    `${who || 'not in this record'}${list(identity.groups).length > 0 ? `, of ${list(identity.groups).map(text).join(', ')}` : ''}`,
  )
  say(
    'Believed',
    identity.source === 'configured'
      ? 'by configuration, without proof'
      : text(identity.issuer) &&
          `by an assertion of ${text(identity.issuer)}${custom.assertion_replayed === true ? ', which had been used before' : ''}`,
  )
  say('When', text(event.timestamp))
  say(
    'What',
    `${whatOf(event)}${at(event, 'input', 'server') === undefined ? '' : ` on ${text(at(event, 'input', 'server'))}`}`,
  )
  say('With', text(at(event, 'input', 'arguments')))
  const { name, version } = (at(event, 'input', 'client') ?? {}) as JsonObject
  say(
    'Through',
    [
      name === undefined ? '' : `${text(name)} ${text(version)} (as it says itself)`.replace('  ', ' '),
      event.requested_by === undefined ? '' : `from ${text(event.requested_by)}`,
    ]
      .filter((part) => part !== '')
      .join(', '),
  )
  say('Pomerium', text(at(event, 'input', 'http', 'request_id')))
  say('Trace', text(event.trace_id))
  say('Within', text(at(event, 'input', 'parent', 'decision_id')))
  say('Decided', VERDICTS[dispositionOf(event)] ?? dispositionOf(event))
  for (const reason of list(at(event, 'result', 'reasons'))) {
    const { code, title, help, details } = reason as JsonObject
    say('Why', `${text(title)} [${text(code)}]${details === undefined ? '' : ` ${text(details)}`}`)
    say('Would help', text(help))
  }
  for (const reason of list(at(event, 'result', 'dry_run', 'reasons')))
    say('Dry run', `${text((reason as JsonObject).title)} [${text((reason as JsonObject).code)}]`)
  say('Error', text(at(event, 'error', 'message')))
  const bundles = (isObject(event.bundles) ? Object.entries(event.bundles) : []).map(
    ([bundle, value]) =>
      `${printable(bundle)} ${text(at(value as JsonObject, 'revision')) || 'without a revision'}`,
  )
  say('Policy', `${bundles.join(', ')}, entrypoint ${text(event.path)}`)
  const left = [
    ['masked', event.masked],
    ['erased', event.erased],
    ['shortened', custom.truncated],
  ].flatMap(([how, pointers]) =>
    list(pointers as Json).length > 0
      ? [
          `${how}: ${list(pointers as Json)
            .map(text)
            .join(', ')}`,
        ]
      : [],
  )
  say(
    'Not in it',
    [
      ...left,
      custom.mask_error === undefined ? '' : `the input, as the mask failed: ${text(custom.mask_error)}`,
    ]
      .filter((part) => part !== '')
      .join('; '),
  )
}

const VERDICTS: Record<string, string> = {
  allowed: 'allowed',
  denied: 'denied',
  allowed_dry_run: 'allowed; rules in dry run would have denied it',
}
