import * as rpc from '../mcp/error.ts'

/** One table from what is wrong to what the caller sees. `text` is for people; it never quotes what was sent. */
export type Refusal = { status: number; code: number; text: string; retryAfter?: number }

const row = (status: number, code: number, text: string): Refusal => ({ status, code, text })
const malformed = (text: string) => row(400, rpc.INVALID_REQUEST, text)
const unparsable = (text: string) => row(400, rpc.PARSE_ERROR, text)
const identity = (text: string) => row(403, rpc.DENIED, text)
const later = (text: string): Refusal => ({ ...row(503, rpc.UNAVAILABLE, text), retryAfter: 1 })
const yours = (text: string): Refusal => ({ ...row(429, rpc.UNAVAILABLE, text), retryAfter: 1 })

export const REFUSALS = {
  // the HTTP request
  bad_path: row(404, rpc.INVALID_REQUEST, 'There is nothing at this path'),
  bad_verb: row(405, rpc.INVALID_REQUEST, 'This HTTP method is not offered here'),
  bad_host: row(421, rpc.INVALID_REQUEST, 'This host name is not served here'),
  bad_origin: row(403, rpc.INVALID_REQUEST, 'This origin may not use the server'),
  bad_http: malformed('The HTTP request is ambiguous or uses a feature that is refused'),
  bad_tls: malformed('The TLS handshake failed, or the client has no certificate that is believed'),
  bad_expectation: row(417, rpc.INVALID_REQUEST, 'This expectation cannot be met'),
  repeated_header: malformed('A header that must come once came more than once'),
  bad_content_type: row(415, rpc.INVALID_REQUEST, 'The body must be application/json in UTF-8, not encoded'),
  too_large: row(413, rpc.INVALID_REQUEST, 'The body is larger than is accepted'),
  body_timeout: row(408, rpc.INVALID_REQUEST, 'The body did not arrive in time'),
  shutting_down: later('The sidecar is shutting down'),
  too_many: later('Too many requests are in hand (limits.in_flight)'),
  too_many_bytes: later('The requests in hand are too large together (limits.in_flight_bytes)'),
  too_many_connections: later('Too many connections are open (limits.connections)'),
  too_many_streams: later('Too many streams are open (limits.streams)'),
  too_fast: later('Too many requests come a second (limits.per_second)'),
  low_memory: later('Memory is short (limits.memory_percent)'),
  identity_in_flight: yours('Too many requests of this identity are in hand (limits.identity_in_flight)'),
  identity_streams: yours('Too many streams of this identity are open (limits.identity_streams)'),
  identity_rate: yours('Too many requests of this identity come a second (limits.identity_per_second)'),
  // the text
  invalid_utf8: unparsable('The body is not UTF-8'),
  byte_order_mark: unparsable('The body starts with a byte order mark'),
  too_deep: unparsable('The body is nested too deeply'),
  too_many_keys: unparsable('The body has too many keys'),
  syntax: unparsable('The body is not one JSON value'),
  duplicate_key: unparsable('The body has the same key twice in one object'),
  ambiguous_key: unparsable('The body has keys in one object that differ only by case or form'),
  forbidden_key: unparsable('The body has a key that is refused'),
  unsafe_number: unparsable('The body has a number that readers do not agree on'),
  lone_surrogate: unparsable('The body has text that is not well-formed Unicode'),
  string_too_long: row(413, rpc.INVALID_REQUEST, 'The body has a string that is longer than is accepted'),
  // the message
  batch: malformed('Batches are refused; send one message a request'),
  not_a_message: malformed('The body is not one JSON-RPC 2.0 message'),
  unknown_member: malformed('The message has a member that JSON-RPC does not name'),
  bad_id: malformed('The id must be a string or a whole number'),
  bad_method: malformed('The method must be a non-empty string'),
  bad_params: row(
    400,
    rpc.INVALID_PARAMS,
    'The params must be an object with keys spelt as the protocol does',
  ),
  bad_response: malformed('The response is not one that JSON-RPC allows'),
  unexpected_response: malformed('No request is open that this would answer'),
  wrong_shape: malformed('This method is a request in one form only: with an id, or without'),
  unknown_method: row(404, rpc.METHOD_NOT_FOUND, 'This method is not known here'),
  missing_name: row(400, rpc.INVALID_PARAMS, 'The name is missing'),
  bad_arguments: row(400, rpc.INVALID_PARAMS, 'The arguments must be an object'),
  bad_reference: row(400, rpc.INVALID_PARAMS, 'The ref must name one prompt or one resource'),
  bad_subscription: row(400, rpc.INVALID_PARAMS, 'The notifications must be an object of known keys'),
  bad_task: row(400, rpc.INVALID_PARAMS, 'The task is missing or not an object'),
  bad_input_response: row(400, rpc.INVALID_PARAMS, 'An answer to an input request is not one of its kind'),
  bad_elicitation: row(400, rpc.INVALID_PARAMS, 'The elicitation is not one of its mode'),
  bad_uri: row(400, rpc.INVALID_PARAMS, 'The URI is not in its canonical form'),
  ambiguous_argument: row(
    400,
    rpc.INVALID_PARAMS,
    'An argument differs from a declared one only by case or form',
  ),
  bad_request_state: row(400, rpc.INVALID_PARAMS, 'The requestState is none that was given for this request'),
  unknown_task: row(404, rpc.INVALID_PARAMS, 'There is no such task'),
  duplicate_id: malformed('A request of this id is open'),
  // revision and session
  header_mismatch: row(400, rpc.HEADER_MISMATCH, 'The MCP headers do not agree with the body'),
  unsupported_version: row(400, rpc.UNSUPPORTED_VERSION, 'This protocol version is not supported'),
  missing_meta: row(400, rpc.INVALID_PARAMS, 'The protocol version or capabilities are missing'),
  missing_capability: row(
    400,
    rpc.MISSING_CAPABILITY,
    'The client does not declare the extension that this needs',
  ),
  modern_needs_request: malformed('This protocol version takes requests only'),
  unknown_session: row(404, rpc.INVALID_REQUEST, 'There is no such session; start a new one'),
  no_session: row(405, rpc.INVALID_REQUEST, 'This needs a session'),
  unknown_event: row(404, rpc.INVALID_REQUEST, 'There is no such event in this session; open a new stream'),
  // who
  assertion_missing: identity(
    'No identity: the X-Pomerium-Jwt-Assertion header is missing (is pass_identity_headers on?)',
  ),
  assertion_repeated: identity('No identity: more than one X-Pomerium-Jwt-Assertion header'),
  assertion_malformed: identity('No identity: the assertion is not a compact JWT'),
  assertion_algorithm: identity('No identity: the assertion is signed with an algorithm that is refused'),
  assertion_unknown_key: identity('No identity: the assertion is signed with a key that is not in the JWKS'),
  assertion_signature: identity('No identity: the signature of the assertion does not hold'),
  assertion_issuer: identity('No identity: the assertion is from another issuer'),
  assertion_audience: identity('No identity: the assertion is for another audience'),
  assertion_expired: identity('No identity: the assertion has expired (or a clock is off)'),
  assertion_not_yet_valid: identity('No identity: the assertion is not valid yet (or a clock is off)'),
  assertion_claims: identity('No identity: a claim of the assertion is missing or of the wrong type'),
  assertion_replayed: identity('No identity: the assertion was used before (identity.replay is refuse)'),
  assertion_subject_empty: identity('No identity: the assertion names nobody (a public route?)'),
  keys_unavailable: later('The keys that verify identities could not be loaded yet'),
  replay_table_full: later('Too many assertions are in use to tell one that is used again'),
  // the policy and the record
  no_bundle: later('No policy bundle is active'),
  bundle_stale: later('The policy is older than is accepted, and its source does not confirm it'),
  queue_full: later('Too many questions wait for the policy'),
  suspended: { ...later('Evaluations for this identity had to be stopped several times'), retryAfter: 60 },
  stream_revoked: row(200, rpc.DENIED, 'The policy that is in force now does not allow this stream'),
  visible_undecided: row(200, rpc.INTERNAL_ERROR, 'The policy could not decide what may be seen'),
  record_refused: later('The decision could not be recorded, so nothing was done'),
  internal: row(500, rpc.INTERNAL_ERROR, 'The sidecar failed; nothing was sent'),
  // the upstream
  upstream_failed: row(502, rpc.UPSTREAM_FAILED, 'The MCP server could not be reached or broke off'),
  upstream_refused: row(502, rpc.UPSTREAM_FAILED, 'The MCP server refused the request'),
  upstream_timeout: row(504, rpc.UPSTREAM_FAILED, 'The MCP server did not answer in time'),
  upstream_malformed: row(
    502,
    rpc.UPSTREAM_FAILED,
    'The MCP server sent something that is not a valid answer',
  ),
  upstream_busy: later('The MCP server takes no further session or stream'),
} as const satisfies Record<string, Refusal>

export type RefusalReason = keyof typeof REFUSALS
