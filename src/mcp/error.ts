import type { RpcId } from './message.ts'
import type { JsonObject } from './strict-json.ts'

/** JSON-RPC 2.0 and MCP codes (2026-07-28, basic "Error Codes"). */
export const PARSE_ERROR = -32700
export const INVALID_REQUEST = -32600
export const METHOD_NOT_FOUND = -32601
export const INVALID_PARAMS = -32602
export const INTERNAL_ERROR = -32603
export const HEADER_MISMATCH = -32020
export const MISSING_CAPABILITY = -32021
export const UNSUPPORTED_VERSION = -32022
/** Whether a server shows by this code that it knows 2026-07-28 (there, "Versioning"). */
export const isModernError = (code: unknown): boolean =>
  code === HEADER_MISMATCH || code === MISSING_CAPABILITY || code === UNSUPPORTED_VERSION
/** Ours, outside the range that JSON-RPC and MCP reserve. */
export const DENIED = 403
export const UNAVAILABLE = 503
export const UPSTREAM_FAILED = 502

/** A JSON-RPC error as one line. `id` is null where the request's could not be read. */
export function errorText(id: RpcId | null, code: number, message: string, data: JsonObject): string {
  return JSON.stringify({ jsonrpc: '2.0', id, error: { code, message, data } })
}
