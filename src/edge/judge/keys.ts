import { readFile } from 'node:fs/promises'
import { Agent, request } from 'undici'
import { readJwks } from './assertion.ts'

/** Where the keys that sign assertions come from; exactly one of url, file and inline. */
export type KeySource =
  | { kind: 'url'; url: string; ca?: string }
  | { kind: 'file'; path: string }
  | { kind: 'inline'; jwks: string }

export type KeyStore = {
  /** after an assertion named a key that is not known: true if the set changed, asked at most once a cool-down */
  refresh: () => Promise<boolean>
  state: () => { loaded: boolean; age_ms: number; error: string | undefined }
  close: () => Promise<void>
}

export type KeyTimes = {
  /** milliseconds between background refreshes, between refreshes for unknown keys, and for one fetch */
  every: number
  cooldown: number
  timeout: number
  /** how long the last good set is believed while the source is away */
  maxStale: number
}
export const KEY_TIMES: KeyTimes = { every: 300_000, cooldown: 5_000, timeout: 5_000, maxStale: 86_400_000 }

const LARGEST = 256 << 10

/**
 * Keeps the last good keys while the source is away, and never takes an unreadable set for an empty one. An empty set
 * that can be read is believed: it is how an issuer takes all its keys back.
 * @param publish told each new set, as JSON; an empty text when the last good one is too old, which is no set at all
 */
export async function createKeyStore(
  source: KeySource,
  publish: (jwks: string) => void,
  times: KeyTimes = KEY_TIMES,
): Promise<KeyStore> {
  const agent =
    source.kind === 'url'
      ? new Agent({ connect: source.ca === undefined ? {} : { ca: source.ca } })
      : undefined
  let current = ''
  let usable = 0
  let good = 0
  let asked = Number.NEGATIVE_INFINITY
  let error: string | undefined = 'not loaded yet'
  let running: Promise<boolean> | undefined

  const load = async (): Promise<boolean> => {
    asked = performance.now()
    try {
      const text = await read(source, agent, times.timeout)
      const keys = readJwks(text)
      // A set that can be read and has no usable key takes back those that were believed; at the start it is none yet.
      if (!keys || (keys.size === 0 && current === ''))
        throw new Error('the document has no key set with a usable key')
      usable = keys.size
      error = usable === 0 ? 'the key set has no usable key: every key was taken back' : undefined
      good = performance.now()
      if (text === current) return false
      current = text
      publish(text)
      return true
    } catch (failure) {
      error = failure instanceof Error ? failure.message : String(failure)
      if (current !== '' && performance.now() - good > times.maxStale) {
        current = ''
        usable = 0
        publish('')
      }
      return false
    }
  }
  const once = () => {
    running ??= load().finally(() => {
      running = undefined
    })
    return running
  }

  await once()
  const timer = setInterval(once, times.every)
  // Until there is a key, the source is asked more often.
  const settle = setInterval(() => {
    if (usable === 0) void once()
  }, times.cooldown)
  timer.unref()
  settle.unref()

  return {
    async refresh() {
      if (source.kind === 'inline') return false
      if (running) return running
      return performance.now() - asked < times.cooldown ? false : once()
    },
    state: () => ({ loaded: usable > 0, age_ms: Math.round(performance.now() - good), error }),
    async close() {
      clearInterval(timer)
      clearInterval(settle)
      await agent?.close()
    },
  }
}

async function read(source: KeySource, agent: Agent | undefined, timeout: number): Promise<string> {
  if (source.kind === 'inline') return source.jwks
  if (source.kind === 'file') return readFile(source.path, 'utf8')
  const answer = await request(source.url, {
    ...(agent && { dispatcher: agent }),
    headers: { accept: 'application/json', 'accept-encoding': 'identity' },
    signal: AbortSignal.timeout(timeout),
  })
  // Redirects are not followed: the address of the keys is what the configuration says.
  if (answer.statusCode !== 200) {
    await answer.body.dump()
    throw new Error(`the key source answered ${answer.statusCode}`)
  }
  const parts: Buffer[] = []
  let size = 0
  for await (const chunk of answer.body) {
    size += (chunk as Buffer).length
    if (size > LARGEST) throw new Error(`the key set is larger than ${LARGEST} bytes`)
    parts.push(chunk as Buffer)
  }
  return Buffer.concat(parts).toString('utf8')
}
