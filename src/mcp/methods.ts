import type { Era } from './headers.ts'

/**
 * What is done with each method. `decide`: the policy is asked. `protocol`: passes on an identified session, counted.
 * A method that is not here is refused; so is one in an era that does not have it.
 */
export type Treatment = 'decide' | 'protocol'
export type ItemKind = 'tool' | 'prompt' | 'resource' | 'template'

export type Method = {
  shape: 'request' | 'notification'
  treatment: Treatment
  eras: readonly Era[]
  /** The result member that names things, narrowed by `mcp/main/visible`; `key` is an item's name in it. */
  list?: { member: string; kind: ItemKind; key: string }
  /** The member of `params` that 2026-07-28 mirrors in `Mcp-Name`. */
  mirrored?: 'name' | 'uri'
}

const BOTH = ['legacy', 'modern'] as const
const LEGACY = ['legacy'] as const
const decide = (eras: readonly Era[], more: Partial<Method> = {}): Method => ({
  shape: 'request',
  treatment: 'decide',
  eras,
  ...more,
})
const list = (member: string, kind: ItemKind, key: string) => decide(BOTH, { list: { member, kind, key } })
const notification: Method = { shape: 'notification', treatment: 'protocol', eras: LEGACY }

/** Client to server (schemas of 2024-11-05 to 2026-07-28). */
const TO_SERVER = new Map<string, Method>([
  ['initialize', decide(LEGACY)],
  ['server/discover', decide(['modern'])],
  ['ping', { shape: 'request', treatment: 'protocol', eras: LEGACY }],
  ['tools/list', list('tools', 'tool', 'name')],
  ['tools/call', decide(BOTH, { mirrored: 'name' })],
  ['prompts/list', list('prompts', 'prompt', 'name')],
  ['prompts/get', decide(BOTH, { mirrored: 'name' })],
  ['resources/list', list('resources', 'resource', 'uri')],
  ['resources/templates/list', list('resourceTemplates', 'template', 'uriTemplate')],
  ['resources/read', decide(BOTH, { mirrored: 'uri' })],
  ['logging/setLevel', decide(LEGACY)],
  ['notifications/initialized', notification],
  ['notifications/cancelled', notification],
  ['notifications/progress', notification],
  ['notifications/roots/list_changed', notification],
])

/** Server to client notifications that pass; others are dropped and counted. */
const TO_CLIENT = new Set([
  'notifications/cancelled',
  'notifications/message',
  'notifications/progress',
  'notifications/prompts/list_changed',
  'notifications/resources/list_changed',
  'notifications/tools/list_changed',
])

export const methodToServer = (name: string): Method | undefined => TO_SERVER.get(name)
export const passesToClient = (notificationName: string): boolean => TO_CLIENT.has(notificationName)
