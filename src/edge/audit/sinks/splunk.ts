import { setTimeout as sleep } from 'node:timers/promises'
import { answerOf, createClient, type HttpTo, type Reply } from './request.ts'
import type { Answer, Line, Sink } from './sink.ts'

export type SplunkSettings = {
  to: HttpTo
  /** in the envelope of each event where they are set */
  meta: { index?: string; source?: string; sourcetype: string; host?: string }
  /** waits until the events are indexed; the channel is this sink's own */
  ack?: { channel: string; every: number; within: number }
}

/** Codes of HEC that say that a token, an index or a channel is not what it should be: a setting, here or there. */
const SETTINGS = new Set([1, 2, 3, 4, 7, 10, 11, 14, 16, 21, 22])

/**
 * Splunk's HTTP Event Collector, event endpoint (Splunk docs, "Format events for HTTP Event Collector", "Troubleshoot HTTP
 * Event Collector"). 200 says only that the events were accepted; with indexer acknowledgement a batch is taken when
 * Splunk says that it is indexed.
 */
export function createSplunkSink(
  name: string,
  settings: SplunkSettings,
  render: (line: Line) => string,
): Sink {
  const { to, meta, ack } = settings
  const channel: Record<string, string> = ack ? { 'x-splunk-request-channel': ack.channel } : {}
  const client = createClient({ ...to, headers: { ...to.headers, ...channel } })
  const head = JSON.stringify(meta).slice(1, -1)

  const envelope = (line: Line) => {
    const { timestamp, decision_id, custom } = line.event as Record<string, string> & {
      custom?: Record<string, unknown>
    }
    const time = Date.parse(String(timestamp)) / 1000
    // Indexed, so that duplicates and one decision are found without reading every event.
    const fields = JSON.stringify({ event_id: custom?.event_id, decision_id })
    return `{"time":${Number.isNaN(time) ? 0 : time},${head},"fields":${fields},"event":${render(line)}}`
  }

  /** Asks until all is indexed. What is not within its time is sent again, and may then be there twice. */
  const indexed = async (id: number, signal: AbortSignal): Promise<Answer> => {
    const { every, within } = ack as NonNullable<typeof ack>
    const path = to.url.pathname.replace(/\/(event(\/1\.0)?)?$/, '') + ACK_PATH
    const query = Buffer.from(JSON.stringify({ acks: [id] }))
    let said = `acknowledgement ${id} did not come within ${within} ms`
    for (const end = Date.now() + within; Date.now() < end && !signal.aborted; ) {
      await sleep(every, undefined, { signal }).catch(() => undefined)
      const reply = await client.post(query, { path, headers: JSON_BODY }, signal)
      const acks = (bodyOf(reply) as { acks?: Record<string, boolean> }).acks
      if (acks?.[String(id)] === true) return { kind: 'accepted', said: `indexed, acknowledgement ${id}` }
      if (reply.kind === 'failed') said = reply.said
      else if (reply.status !== 200) said = `the acknowledgement endpoint: HTTP ${reply.status}`
    }
    return { kind: 'retry', said }
  }

  return {
    name,
    type: 'splunk',
    to: to.url.origin + to.url.pathname,
    status: client.status,
    async send(batch, signal) {
      const body = Buffer.from(batch.map(envelope).join('\n'))
      const reply = await client.post(body, { headers: JSON_BODY }, signal)
      if (reply.kind === 'failed') return { kind: 'retry', said: reply.said }
      const { code, text, ackId, ...rest } = bodyOf(reply) as HecAnswer
      const said = typeof code === 'number' ? `HTTP ${reply.status}, code ${code}` : `HTTP ${reply.status}`
      const detail = typeof text === 'string' ? { detail: text.slice(0, 500).toWellFormed() } : {}
      if (reply.status === 200) {
        // A proxy that answers for Splunk has taken nothing.
        if (code !== 0) return { kind: 'retry', said: `${said}: is no answer of an event collector` }
        if (!ack) return { kind: 'accepted', said, ...detail }
        if (typeof ackId !== 'number')
          return {
            kind: 'retry',
            said: `${said}, without ackId: the token has no indexer acknowledgement`,
            slow: true,
          }
        return indexed(ackId, signal)
      }
      if (code !== undefined && SETTINGS.has(code)) return { kind: 'retry', said, ...detail, slow: true }
      const bad = rest['invalid-event-number']
      if (
        reply.status === 400 &&
        typeof bad === 'number' &&
        Number.isInteger(bad) &&
        bad >= 0 &&
        bad < batch.length
      ) {
        const again = batch.map((_line, index) => index).filter((index) => index !== bad)
        return { kind: 'partly', said, refused: new Map([[bad, `${said}: ${detail.detail ?? ''}`]]), again }
      }
      return { ...answerOf(reply), said, ...detail }
    },
    close: client.close,
  }
}

type HecAnswer = { code?: number; text?: string; ackId?: number; 'invalid-event-number'?: number }
const ACK_PATH = '/ack'
const JSON_BODY = { 'content-type': 'application/json' }

function bodyOf(reply: Reply): object {
  try {
    const body: unknown = reply.kind === 'answer' ? JSON.parse(reply.body) : undefined
    return typeof body === 'object' && body !== null ? body : {}
  } catch {
    return {}
  }
}
