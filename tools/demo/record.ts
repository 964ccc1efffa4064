// The decision log, read for people.

/** What is used here of an event; there is more in it. */
export type Event = {
  decision_id: string
  timestamp: string
  bundles: Record<string, { revision?: string }>
  input?: {
    method: string
    tool?: { name: string }
    arguments?: Record<string, unknown>
    identity: { subject: string }
  }
  result?: { allow: boolean; reasons: { code: string; title: string; details?: { grant?: string } }[] }
  custom: { event: string; disposition?: string; cause?: { code: string }; hidden?: number; listed?: number }
}

export const readRecord = (text: string): Event[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))

/** Who asked for what, what was decided, why, by which revision; undefined for what is no decision and no refusal. */
export const shorten = (event: Event) => {
  const { custom, input, result } = event
  if (custom.event !== 'decision' && custom.event !== 'reject') return undefined
  const why = result?.reasons.map(({ code, details }) =>
    details?.grant ? `${code}: ${details.grant}` : code,
  )
  return {
    who: input?.identity.subject ?? 'nobody',
    what: input?.tool?.name ?? input?.method ?? '(not read)',
    verdict: custom.disposition ?? '',
    why: why?.join(', ') ?? custom.cause?.code ?? '',
    revision: Object.values(event.bundles)[0]?.revision ?? '',
  }
}
