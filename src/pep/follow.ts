import type { Notification } from '../mcp/message.ts'
import { isObject } from '../mcp/strict-json.ts'
import type { Passed } from './deliver.ts'
import type { Context } from './handle.ts'
import { type Asked, ask, settingWithin } from './inner.ts'

export const SUBSCRIPTION_ID = 'io.modelcontextprotocol/subscriptionId'
/** By what a client of 2026-07-28 asks for in `subscriptions/listen`. */
const LISTENED: Record<string, string> = {
  toolsListChanged: 'tools',
  promptsListChanged: 'prompts',
  resourcesListChanged: 'resources',
}

/**
 * A stream that stays open follows the policy: when another is in force its opening is decided anew, and what it hears
 * is that the lists have changed, where client and server agreed that it be told.
 */
export function createFollower(context: Context, passed: Passed) {
  const { read } = passed
  // A stream that is resumed for one answer is not where the session is told things.
  let lists = read.place?.call ? [] : (read.session?.lists ?? [])
  return {
    /** What the server granted (2026-07-28, "Subscriptions"). */
    saw({ method, params: { notifications } }: Notification): void {
      if (method !== 'notifications/subscriptions/acknowledged' || !isObject(notifications)) return
      lists = Object.entries(LISTENED).flatMap(([key, list]) => (notifications[key] === true ? [list] : []))
    },
    /** To be told to the client, or what the stream is ended by. */
    async changed(): Promise<{ news: Notification[] } | { revoked: Exclude<Asked, { kind: 'allowed' }> }> {
      const setting = settingWithin(context, passed)
      const draft = { ...read.draft, ...setting, time: new Date(setting.time_ms).toISOString() }
      const asked = await ask(context, passed, draft)
      if (asked.kind !== 'allowed') return { revoked: asked }
      const params = read.message?.kind === 'request' ? { _meta: { [SUBSCRIPTION_ID]: read.message.id } } : {}
      return {
        news: lists.map((list) => ({
          kind: 'notification',
          method: `notifications/${list}/list_changed`,
          params,
        })),
      }
    },
  }
}
