import type { Request, Response } from '../mcp/message.ts'
import { INPUT_METHODS, methodToServer } from '../mcp/methods.ts'
import { isObject, type Json, type JsonObject } from '../mcp/strict-json.ts'
import { type Owner, ownerOf } from '../pdp/identity.ts'
import { keyedDigest } from '../pdp/input.ts'
import { carriesData, draftOfAnswer, draftOfServerRequest } from '../pdp/server-request.ts'
import { createBox, readValues } from './box.ts'
import type { Context } from './handle.ts'
import { type Asked, asJudged, ask, parentOf, settingWithin, type Within } from './inner.ts'

/** Questions that one result may put, and answers that one request may bring: each is decided for itself. */
const MOST = 16
/** UTF-16 units of a state as the client holds it. */
const LONGEST_STATE = 256 << 10

/** What the state that a server gives a client to bring back stands for. */
export type State = {
  /** as the server wrote it */
  upstream: string
  owner: Owner
  method: string
  /** the name or address that was asked for */
  target: string
  /** by key of `inputRequests`, what the client was asked for */
  asked: Record<string, string>
}
export type States = { seal: (state: State) => string; open: (token: string) => State | undefined }

/** `requestState` as the client holds it: good for the one who was given it, for the same request, and for nothing else. */
export function createStates(secret: Uint8Array): States {
  const box = createBox(secret, 'request state', { longest: LONGEST_STATE })
  return {
    seal: ({ upstream, owner: { issuer, subject, audience }, method, target, asked }) =>
      box.seal(JSON.stringify([upstream, issuer, subject, audience, method, target, Object.entries(asked)])),
    open(token) {
      const [upstream, issuer, subject, audience, method, target, entries] = readValues(box.open(token))
      const strings = [upstream, issuer, subject, audience, method, target]
      if (!strings.every((part) => typeof part === 'string') || !Array.isArray(entries)) return undefined
      return {
        upstream: upstream as string,
        owner: { issuer: issuer as string, subject: subject as string, audience: audience as string },
        method: method as string,
        target: target as string,
        asked: Object.fromEntries(entries as [string, string][]),
      }
    },
  }
}

/** What a request names, in the member that headers mirror. */
export const targetOf = ({ method, params }: Pick<Request, 'method' | 'params'>): string =>
  String(params[methodToServer(method)?.mirrored ?? ''] ?? '')

export type InputRequests =
  | { ok: true; members: JsonObject }
  | { ok: false; fault: 'upstream_malformed' }
  | { ok: false; fault: 'inner'; asked: Exclude<Asked, { kind: 'allowed' }> }

/**
 * The questions of a result that asks for input (2026-07-28, "Multi Round-Trip Requests"), each decided as a request
 * of the server to the client. One that is not allowed bars them all: a client could not go on without it.
 */
export async function screenInputRequests(
  context: Context,
  within: Within,
  request: Request,
  { inputRequests, requestState }: JsonObject,
): Promise<InputRequests> {
  const no: InputRequests = { ok: false, fault: 'upstream_malformed' }
  if (inputRequests !== undefined && !isObject(inputRequests)) return no
  if (requestState !== undefined && typeof requestState !== 'string') return no
  if (inputRequests === undefined && requestState === undefined) return no
  const entries = Object.entries(inputRequests ?? {})
  if (entries.length > MOST) return no

  const { digestKey } = context.settings
  const shown: JsonObject = {}
  const asked: Record<string, string> = {}
  for (const [key, entry] of entries) {
    if (!isObject(entry)) return no
    const { method, params = {} } = entry
    if (typeof method !== 'string' || !INPUT_METHODS.includes(method) || !isObject(params)) return no
    const drafted = draftOfServerRequest({ method, params }, settingWithin(context, within), {
      digest: (value) => keyedDigest(digestKey, value),
      parent: parentOf(within),
    })
    if (!drafted.ok) return no
    const answer = await ask(context, within, drafted.draft)
    if (answer.kind !== 'allowed') return { ok: false, fault: 'inner', asked: answer }
    shown[key] = { method, params: asJudged(params, drafted.draft) }
    asked[key] = method
  }
  const members: JsonObject = inputRequests === undefined ? {} : { inputRequests: shown }
  if (within.read.task) context.tasks.remember(within.read.task.task, asked)
  if (requestState !== undefined) {
    const owner = ownerOf(within.identity)
    const { method } = request
    members.requestState = context.states.seal({
      upstream: requestState,
      owner,
      method,
      target: targetOf(request),
      asked,
    })
  }
  return { ok: true, members }
}

/** One entry of `inputResponses`, and the method that it answers. */
export type InputAnswer = { key: string; method: string; response: Response }

/** What answers nothing that was asked for, and has the form of no answer. */
const UNKNOWN = 'unknown'

/**
 * The answers that a request brings, with what each answers: as the state says that came with them, or what its task
 * asked for, else by their form. Undefined where that is not to be told: it would be judged as one thing and read as
 * another.
 * @param asked by key, as far as it is known
 * @param open whether an answer may be to nothing: a server leaves out what it did not ask for within a task (SEP-2663)
 */
export function readInputAnswers(
  responses: Json | undefined,
  asked: Record<string, string> | undefined,
  open: boolean,
): InputAnswer[] | undefined {
  if (responses === undefined) return []
  if (!isObject(responses)) return undefined
  const entries = Object.entries(responses)
  if (entries.length > MOST) return undefined
  const answers: InputAnswer[] = []
  for (const [key, result] of entries) {
    if (!isObject(result)) return undefined
    const method = asked && Object.hasOwn(asked, key) ? asked[key] : methodByForm(result, open)
    if (method === undefined) return undefined
    answers.push({ key, method, response: { kind: 'response', id: key, result } })
  }
  return answers
}

function methodByForm(result: JsonObject, open: boolean): string | undefined {
  const forms = [
    ['elicitation/create', result.action !== undefined],
    ['sampling/createMessage', result.role !== undefined || result.model !== undefined],
    ['roots/list', result.roots !== undefined],
  ].flatMap(([method, is]) => (is ? [String(method)] : []))
  if (open && forms.length === 0) return UNKNOWN
  return forms.length === 1 ? forms[0] : undefined
}

/** Asks about each answer that carries data; the first that is not allowed is what is said of the request. */
export async function askAboutAnswers(
  context: Context,
  within: Within,
  answers: InputAnswer[],
): Promise<Exclude<Asked, { kind: 'allowed' }> | undefined> {
  for (const { method, response } of answers) {
    if (response.error || !carriesData(method, response)) continue
    const { result } = response
    const setting = settingWithin(context, within)
    const draft = draftOfAnswer(method, { result }, setting, parentOf(within), (value) =>
      keyedDigest(context.settings.digestKey, value),
    )
    const asked = await ask(context, within, draft)
    if (asked.kind !== 'allowed') return asked
  }
  return undefined
}
