import { isModernError } from '../mcp/error.ts'
import {
  LATEST_LEGACY,
  LEGACY_VERSIONS,
  META_CAPABILITIES,
  META_CLIENT,
  META_VERSION,
} from '../mcp/headers.ts'
import { isObject, type Json, type JsonObject } from '../mcp/strict-json.ts'
import { connectTo, type Era, MODERN, ToolListError, type ToolServer } from './tool-server.ts'

/** Milliseconds that a server over stdio may be silent to what it may not know. */
const SILENT = 3_000
/** Answers after which a client takes another road (2026-07-28, "Streamable HTTP", "Backward Compatibility"). */
const NOT_KNOWN = [400, 404, 405]
const PAGES = 1_000

/** All pages of `tools/list`, after the handshake. @throws ToolListError */
export async function listTools(server: ToolServer, version: string, timeout: number): Promise<JsonObject[]> {
  const signal = AbortSignal.timeout(timeout)
  const connection = connectTo(server, signal)
  const clientInfo = { name: 'mcp-opa-sidecar', version }
  const _meta = { [META_VERSION]: MODERN, [META_CAPABILITIES]: {}, [META_CLIENT]: clientInfo }
  let id = 0
  const tell = (era: Era, method: string, params: JsonObject, within?: number) => {
    const all = era === 'modern' ? { ...params, _meta } : params
    return connection.ask({ jsonrpc: '2.0', id: ++id, method, params: all }, era, within)
  }
  const ask = async (era: Era, method: string, params: JsonObject): Promise<JsonObject> => {
    const answer = await tell(era, method, params)
    if (isObject(answer?.result)) return answer.result
    throw refusedBy(method, answer)
  }

  /** Asks as a client that speaks both: what the server does not know is asked in the older way. */
  const negotiate = async (): Promise<Era> => {
    let silent = false
    try {
      const answer = await tell('modern', 'server/discover', {}, SILENT)
      silent = answer === undefined
      if (answer && isModern(answer)) return 'modern'
    } catch (error) {
      if (!(error instanceof ToolListError) || !NOT_KNOWN.includes(error.status ?? 0)) throw error
    }
    const params = { protocolVersion: LATEST_LEGACY, capabilities: {}, clientInfo }
    const answer = await tell('legacy', 'initialize', params)
    if (!isObject(answer?.result)) {
      // It was only slow to begin with.
      if (silent) return 'modern'
      throw refusedBy('initialize', answer)
    }
    await connection.ask({ jsonrpc: '2.0', method: 'notifications/initialized' }, 'legacy')
    return 'legacy'
  }

  try {
    const era = await negotiate()
    const tools: JsonObject[] = []
    let cursor: Json | undefined
    for (let page = 0; page < PAGES; page++) {
      const result = await ask(era, 'tools/list', cursor === undefined ? {} : { cursor })
      tools.push(...readTools(result))
      cursor = result.nextCursor
      if (cursor === undefined || cursor === null || cursor === '') return tools
    }
    throw new ToolListError(`tools/list: more than ${PAGES} pages`)
  } catch (error) {
    if (error instanceof ToolListError) throw error
    if (signal.aborted) throw new ToolListError(`the server did not answer within ${timeout / 1000} s`)
    throw new ToolListError(`the server cannot be asked: ${(error as Error).message}`)
  } finally {
    await connection.close().catch(() => undefined)
  }
}

function refusedBy(method: string, answer: JsonObject | undefined): ToolListError {
  const { message, code } = isObject(answer?.error) ? answer.error : {}
  return new ToolListError(
    `${method}: the server answered ${message ?? 'with no result'}${code === undefined ? '' : ` (${code})`}`,
  )
}

/**
 * Whether what `server/discover` was answered with is from a server of 2026-07-28.
 * @throws ToolListError where it is, and does not speak with us
 */
function isModern(answer: JsonObject): boolean {
  const { result, error } = answer
  if (isObject(result)) return namesModern(result.supportedVersions)
  const { code, data } = isObject(error) ? error : {}
  if (!isModernError(code)) return false
  const supported = isObject(data) && Array.isArray(data.supported) ? data.supported : []
  if (supported.some((version) => LEGACY_VERSIONS.includes(String(version)))) return false
  throw refusedBy('server/discover', answer)
}

const namesModern = (versions: Json | undefined): boolean =>
  Array.isArray(versions) && versions.includes(MODERN)

/** The definitions of a list, as a result or alone. @throws ToolListError */
export function readTools(list: Json): JsonObject[] {
  const tools = isObject(list) ? (isObject(list.result) ? list.result.tools : list.tools) : list
  if (!Array.isArray(tools)) throw new ToolListError('there is no list of tools')
  return tools.map((tool) => {
    if (!isObject(tool) || typeof tool.name !== 'string' || tool.name === '')
      throw new ToolListError('a tool has no name')
    return tool
  })
}
