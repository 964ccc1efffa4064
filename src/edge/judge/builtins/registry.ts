import { ENCODING } from './encoding.ts'
import { IDENTIFIERS } from './identifiers.ts'
import { JWT } from './jwt.ts'
import { NET } from './net.ts'
import { NUMBERS } from './numbers.ts'
import { OBJECTS } from './object.ts'
import type { Builtin } from './operand.ts'
import { REGEX } from './regex.ts'
import { STRINGS } from './strings.ts'
import { TIME } from './time.ts'
import { URIS } from './uri.ts'
import { YAML } from './yaml.ts'

/** Builtins that the module leaves to its host, by OPA's names. */
export const HOST_BUILTINS: ReadonlyMap<string, Builtin> = new Map(
  [ENCODING, IDENTIFIERS, JWT, NET, NUMBERS, OBJECTS, REGEX, STRINGS, TIME, URIS, YAML].flatMap(
    Object.entries,
  ),
)

const NETWORK = 'reaches into the network'
const RANDOM = 'random: the same input would not give the same answer'
const GO_STRUCT = 'answers with the structure of Go’s own types'
const GRAPHQL = 'there is no library that answers as OPA’s does'
const SCHEMA = 'may fetch what a schema refers to, and answers with the texts of Go’s library'
const DEPRECATED = 'deprecated: Rego v1 does not compile it'

/** Builtins of OPA that a policy cannot have here, and why. A test holds that these, ours and the native ones are all. */
export const REFUSED: Readonly<Record<string, string>> = {
  'http.send': NETWORK,
  'net.lookup_ip_addr': NETWORK,
  'rand.intn': RANDOM,
  'uuid.rfc4122': RANDOM,
  'opa.runtime': 'tells of the process and its environment',
  'io.jwt.encode_sign': RANDOM,
  'io.jwt.encode_sign_raw': RANDOM,
  'providers.aws.sign_req': 'signs requests, which a policy here cannot send',
  'crypto.parse_private_keys': GO_STRUCT,
  'crypto.x509.parse_and_verify_certificates': GO_STRUCT,
  'crypto.x509.parse_and_verify_certificates_with_options': GO_STRUCT,
  'crypto.x509.parse_certificate_request': GO_STRUCT,
  'crypto.x509.parse_certificates': GO_STRUCT,
  'crypto.x509.parse_keypair': GO_STRUCT,
  'crypto.x509.parse_rsa_private_key': GO_STRUCT,
  'graphql.is_valid': GRAPHQL,
  'graphql.parse': GRAPHQL,
  'graphql.parse_and_verify': GRAPHQL,
  'graphql.parse_query': GRAPHQL,
  'graphql.parse_schema': GRAPHQL,
  'graphql.schema_is_valid': GRAPHQL,
  'json.match_schema': SCHEMA,
  'json.verify_schema': SCHEMA,
  'rego.parse_module': 'is a compiler of Rego',
  'strings.render_template': 'is Go’s template language',
  all: DEPRECATED,
  any: DEPRECATED,
  cast_array: DEPRECATED,
  cast_boolean: DEPRECATED,
  cast_null: DEPRECATED,
  cast_object: DEPRECATED,
  cast_set: DEPRECATED,
  cast_string: DEPRECATED,
  'net.cidr_overlap': DEPRECATED,
  re_match: DEPRECATED,
  set_diff: DEPRECATED,
}
