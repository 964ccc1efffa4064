import { connect } from 'node:net'

/** Parsed JSON that a test looks into; what is not there fails the test. */
// biome-ignore lint/suspicious/noExplicitAny: a test asserts what a type would only claim
export type Parsed = any

/** One HTTP answer as it came: nothing joined, nothing decoded but chunks. */
export type RawAnswer = {
  status: number
  headers: [name: string, value: string][]
  /** the value of a header that must come at most once */
  header: (name: string) => string | undefined
  body: string
  bytes: Buffer
  /** the body as JSON, or the last message of a stream; throws if it is none */
  json: () => Parsed
}
export type RawExchange = {
  answers: RawAnswer[]
  /** statuses of 1xx answers */
  interim: number[]
  /** all bytes that came, and what was left of them after the last whole answer */
  raw: Buffer
  rest: Buffer
  /** the other side closed the connection */
  closed: boolean
  timedOut: boolean
}
export type SendOptions = {
  host?: string
  /** milliseconds until what came so far is returned */
  timeout?: number
  /** whole answers that are waited for */
  answers?: number
  /** milliseconds to wait for more after the last awaited answer */
  settle?: number
  /** milliseconds between the parts that are sent */
  pause?: number
  /** end our side once everything is sent */
  end?: boolean
}

/** Sends bytes as they are and reads the answer or answers. */
export function sendRaw(
  port: number,
  parts: string | Buffer | (string | Buffer)[],
  options: SendOptions = {},
): Promise<RawExchange> {
  const { host = '127.0.0.1', timeout = 5_000, answers: wanted = 1, settle = 0, pause = 5 } = options
  return new Promise((resolve) => {
    const received: Buffer[] = []
    let settling: NodeJS.Timeout | undefined
    let over = false
    const socket = connect({ port, host, noDelay: true })
    const finish = (closed: boolean, timedOut: boolean) => {
      if (over) return
      over = true
      clearTimeout(limit)
      clearTimeout(settling)
      socket.destroy()
      const raw = Buffer.concat(received)
      resolve({ ...readAnswers(raw, closed), raw, closed, timedOut })
    }
    const limit = setTimeout(() => finish(false, true), timeout)
    socket.on('data', (chunk: Buffer) => {
      received.push(chunk)
      if (settling || readAnswers(Buffer.concat(received), false).answers.length < wanted) return
      settling = setTimeout(() => finish(false, false), settle)
    })
    socket.on('close', () => finish(true, false))
    socket.on('error', () => undefined)
    socket.once('connect', async () => {
      for (const part of Array.isArray(parts) ? parts : [parts]) {
        if (over) return
        socket.write(part)
        if (Array.isArray(parts)) await new Promise((next) => setTimeout(next, pause))
      }
      if (options.end) socket.end()
    })
  })
}

/** The bytes of one request. Headers are a list, so that one can come twice and none is added behind one's back. */
export function requestBytes(request: {
  method?: string
  target?: string
  version?: string
  headers: [name: string, value: string][]
  body?: string | Buffer
}): Buffer {
  const { method = 'POST', target = '/mcp', version = 'HTTP/1.1', headers, body = '' } = request
  const head = [`${method} ${target} ${version}`, ...headers.map(([name, value]) => `${name}: ${value}`)]
  return Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`, 'latin1'), Buffer.from(body as string)])
}

/** What a POST of 2025-11-25 has, but its length. */
export const postHeaders = (assertion: string | undefined): Record<string, string | undefined> => ({
  host: 'mcp.example.com',
  'content-type': 'application/json',
  accept: 'application/json, text/event-stream',
  'x-pomerium-jwt-assertion': assertion,
  'mcp-protocol-version': '2025-11-25',
})

/** A well-formed MCP POST of 2025-11-25; `headers` replace those of the same name, `undefined` leaves one out. */
export function postBytes(
  assertion: string | undefined,
  body: string | Buffer | object,
  headers: Record<string, string | undefined> = {},
): Buffer {
  const bytes = Buffer.isBuffer(body)
    ? body
    : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body))
  const all = { ...postHeaders(assertion), 'content-length': String(bytes.length), ...headers }
  const list = Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== undefined)
  return requestBytes({ headers: list, body: bytes })
}

function readAnswers(raw: Buffer, closed: boolean) {
  const answers: RawAnswer[] = []
  const interim: number[] = []
  let rest = raw
  for (;;) {
    const one = readAnswer(rest, closed)
    if (!one) return { answers, interim, rest }
    rest = one.rest
    if (one.answer.status >= 100 && one.answer.status < 200) interim.push(one.answer.status)
    else answers.push(one.answer)
  }
}

function readAnswer(raw: Buffer, closed: boolean): { answer: RawAnswer; rest: Buffer } | undefined {
  const end = raw.indexOf('\r\n\r\n')
  if (end < 0) return undefined
  const [first = '', ...lines] = raw.subarray(0, end).toString('latin1').split('\r\n')
  const status = Number(/^HTTP\/1\.1 (\d{3})(?: |$)/.exec(first)?.[1])
  if (!status) return undefined
  const headers = lines.map((line): [string, string] => {
    const colon = line.indexOf(':')
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
  })
  const header = (name: string) => {
    const found = headers.filter(([key]) => key === name)
    if (found.length > 1) throw new Error(`${name} came ${found.length} times`)
    return found[0]?.[1]
  }
  const after = raw.subarray(end + 4)
  const make = (bytes: Buffer, rest: Buffer) => {
    const body = bytes.toString('utf8')
    const streamed = header('content-type') === 'text/event-stream'
    const text = () =>
      streamed
        ? (body
            .match(/^data: .*$/gm)
            ?.at(-1)
            ?.slice(6) ?? '')
        : body
    return { answer: { status, headers, header, bytes, body, json: () => JSON.parse(text()) }, rest }
  }
  if (status < 200 || status === 204 || status === 304) return make(Buffer.alloc(0), after)
  if (header('transfer-encoding') === 'chunked') {
    const chunks = readChunks(after)
    return chunks ? make(chunks.bytes, chunks.rest) : undefined
  }
  const length = header('content-length')
  if (length === undefined) return closed ? make(after, Buffer.alloc(0)) : undefined
  const size = Number(length)
  return after.length < size ? undefined : make(after.subarray(0, size), after.subarray(size))
}

function readChunks(raw: Buffer): { bytes: Buffer; rest: Buffer } | undefined {
  const parts: Buffer[] = []
  for (let at = 0; ; ) {
    const line = raw.indexOf('\r\n', at)
    if (line < 0) return undefined
    const size = Number.parseInt(raw.subarray(at, line).toString('latin1'), 16)
    const start = line + 2
    if (raw.length < start + size + 2) return undefined
    if (size === 0) return { bytes: Buffer.concat(parts), rest: raw.subarray(start + 2) }
    parts.push(raw.subarray(start, start + size))
    at = start + size + 2
  }
}
