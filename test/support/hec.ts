import { answer, type Receiver, startReceiver } from './receiver.ts'

export type Hec = Receiver & {
  /** event_id of what was indexed, in order */
  indexed: string[]
  /** what the next requests are answered with, before anything is read */
  refuse: (...answers: { status: number; code: number; text: string }[]) => void
}

/**
 * Splunk's HTTP Event Collector as its documentation has it ("Format events for HTTP Event Collector", "About HTTP Event
 * Collector Indexer Acknowledgment", "Troubleshoot HTTP Event Collector"), strict: concatenated objects, known keys only,
 * the codes of the table.
 */
export async function startHec(options: {
  token: string
  indexes?: string[]
  ack?: boolean
  /** acknowledgements that are never given */
  lose?: (ackId: number) => boolean
}): Promise<Hec> {
  const indexed: string[] = []
  const refusals: { status: number; code: number; text: string }[] = []
  let acks = 0
  const asked = new Map<number, number>()
  const receiver = await startReceiver((request, response) => {
    const say = (status: number, code: number, text: string, more: object = {}) =>
      answer(response, status, { text, code, ...more })
    if (request.headers.authorization === undefined) return say(401, 2, 'Token is required')
    if (!request.headers.authorization.startsWith('Splunk ')) return say(401, 3, 'Invalid authorization')
    if (request.headers.authorization !== `Splunk ${options.token}`) return say(403, 4, 'Invalid token')
    const channel = request.headers['x-splunk-request-channel']
    if (options.ack && channel === undefined) return say(400, 10, 'Data channel is missing')
    if (request.url === '/services/collector/ack') {
      if (!options.ack) return say(400, 14, 'ACK is disabled')
      const wanted: number[] = JSON.parse(request.text).acks
      const known = wanted.map((id) => {
        const times = (asked.get(id) ?? 0) + 1
        asked.set(id, times)
        // Indexed by the second time that it is asked about, and forgotten once it was said.
        return [id, times === 2 && !options.lose?.(id)]
      })
      return answer(response, 200, { acks: Object.fromEntries(known) })
    }
    if (request.url !== '/services/collector/event') return answer(response, 404, '')
    const refused = refusals.shift()
    if (refused) return say(refused.status, refused.code, refused.text)
    if (request.text === '') return say(400, 5, 'No data')
    const events: Record<string, unknown>[] = []
    for (const text of concatenated(request.text)) {
      const at = { 'invalid-event-number': events.length }
      let event: Record<string, unknown>
      try {
        event = JSON.parse(text)
      } catch {
        return say(400, 6, 'Invalid data format', at)
      }
      if (!('event' in event)) return say(400, 12, 'Event field is required', at)
      if (event.event === '' || event.event === null) return say(400, 13, 'Event field cannot be blank', at)
      const keys = new Set(['time', 'host', 'source', 'sourcetype', 'index', 'fields', 'event'])
      if (Object.keys(event).some((key) => !keys.has(key)) || typeof event.time !== 'number')
        return say(400, 6, 'Invalid data format', at)
      // Indexed fields are flat.
      const fields = Object.values((event.fields ?? {}) as object)
      if (fields.some((value) => typeof value === 'object'))
        return say(400, 15, 'Error in handling indexed fields', at)
      if (event.index !== undefined && !options.indexes?.includes(event.index as string))
        return say(400, 7, 'Incorrect index', at)
      events.push(event)
    }
    indexed.push(...events.map((event) => String((event.fields as { event_id: unknown }).event_id)))
    say(200, 0, 'Success', options.ack ? { ackId: acks++ } : {})
  })
  return { ...receiver, indexed, refuse: (...answers) => void refusals.push(...answers) }
}

/** Objects one after the other, with white space or nothing between; no array, no commas. */
export function concatenated(text: string): string[] {
  const out: string[] = []
  let depth = 0
  let quoted = false
  let from = 0
  for (let at = 0; at < text.length; at++) {
    const c = text[at]
    if (quoted) {
      if (c === '\\') at++
      else if (c === '"') quoted = false
    } else if (c === '"') quoted = true
    else if (c === '{') {
      if (depth++ === 0) from = at
    } else if (c === '}') {
      if (--depth === 0) out.push(text.slice(from, at + 1))
    } else if (depth === 0 && !/\s/.test(c ?? '')) return [...out, text.slice(at)]
  }
  return depth === 0 ? out : [...out, text.slice(from)]
}
