/**
 * Builtins that OPA compiles into the module itself and that answer there otherwise than in `opa eval`, by OPA 1.22.2.
 * The module decides; a host cannot put its own in their place. What is not here is the same in the differential suite.
 */
export const NATIVE_DIFFERENCES: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    ['abs', 'ceil', 'div', 'floor', 'minus', 'mul', 'plus', 'product', 'rem', 'round', 'sum'].map((name) => [
      name,
      'beyond 2^53 or 17 digits: other rounding, or an exponent where OPA writes all digits',
    ]),
  ),
  'array.slice': 'indexes beyond 32 bits are undefined',
  'base64.decode': 'takes what has no padding or other characters in it',
  'base64.is_valid': 'takes what has no padding or other characters in it',
  'base64url.decode': 'takes other characters',
  ...Object.fromEntries(
    ['and', 'lsh', 'negate', 'or', 'rsh', 'xor'].map((name) => [
      `bits.${name}`,
      'numbers that are not spelled as whole ones, such as `1.0`, are undefined or end the evaluation',
    ]),
  ),
  concat: 'the members of a set are in no order: sort them first, `concat(",", sort(x))`',
  format_int: 'numbers beyond 2^32 end the evaluation: use `sprintf("%d", [x])`',
  'glob.match': 'a `{` that is not closed matches nothing instead of being undefined',
  indexof: 'nothing is found at 0 instead of being undefined',
  'json.filter': 'an empty path ends the evaluation',
  'json.is_valid': 'takes leading zeros and text after the value',
  'json.marshal': 'keys and members of sets are in no order',
  'json.remove': 'an empty path ends the evaluation',
  'json.unmarshal': 'takes leading zeros and text after the value',
  'net.cidr_contains': 'a mapped network (`::ffff:1.2.3.0/120`) is none of IPv4',
  'net.cidr_intersects': 'a mapped network (`::ffff:1.2.3.0/120`) is none of IPv4',
  'object.union_n': 'of no objects it is undefined',
  'regex.find_all_string_submatch_n': 'negative numbers other than -1 find nothing; `(?<name>)` is not known',
  'regex.is_valid': '`(?<name>)` is not known',
  'regex.match': '`(?<name>)` is not known; a pattern ends at a NUL',
  replace: 'replacing the empty string never ends, until the deadline stops it',
  'strings.replace_n': 'an empty pattern goes between bytes, not characters',
  substring: 'numbers that are not spelled as whole ones, such as `1.0`, are undefined',
  to_number: 'other odd spellings are taken',
}
