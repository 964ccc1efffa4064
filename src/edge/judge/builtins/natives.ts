import type { Ask } from '../module/code.ts'
import { ARITHMETIC } from './arithmetic.ts'
import { BASE64 } from './base64.ts'
import { BITS } from './bits.ts'
import { marshal } from './encoding.ts'
import { globMatch } from './glob.ts'
import { JSON_PATHS } from './json-paths.ts'
import { readJson } from './json-text.ts'
import { LISTS } from './lists.ts'
import { NATIVE_NET } from './net.ts'
import { numberHash } from './number-hash.ts'
import { type Builtin, text } from './operand.ts'
import { NATIVE_REGEX } from './regex.ts'
import { REPLACERS } from './replacer.ts'
import { TEXTS } from './texts.ts'
import { OperandError, type Value } from './value.ts'

/** A builtin that OPA's compiler puts into the module as a function of its C, and that the host answers all the same. */
export type Native = {
  builtin: string
  /** of the function (OPA's `internal/compiler/wasm/wasm.go`) */
  name: string
  arity: number
  /** the module's own answers unless one of these holds; without any the host always does */
  when?: readonly Ask[]
  as: Builtin
  /** what the module takes is the number itself, of 32 bits, and no value */
  bare?: true
}

const isJson: Builtin = ([value]) => {
  try {
    readJson(text(value))
    return true
  } catch (error) {
    if (error instanceof OperandError) return false
    throw error
  }
}

const odd = (...args: number[]): Ask[] => args.map((arg) => ['odd', arg])

/** By OPA 1.22.2: what is not here answers in the module as in `opa eval` (`npm run differential:builtins`). */
export const NATIVES: readonly Native[] = [
  { builtin: 'abs', name: 'opa_arith_abs', arity: 1, when: odd(0), as: ARITHMETIC.abs },
  { builtin: 'ceil', name: 'opa_arith_ceil', arity: 1, when: odd(0), as: ARITHMETIC.ceil },
  { builtin: 'div', name: 'opa_arith_divide', arity: 2, as: ARITHMETIC.div },
  { builtin: 'floor', name: 'opa_arith_floor', arity: 1, when: odd(0), as: ARITHMETIC.floor },
  { builtin: 'minus', name: 'opa_arith_minus', arity: 2, when: odd(0, 1), as: ARITHMETIC.minus },
  { builtin: 'mul', name: 'opa_arith_multiply', arity: 2, when: odd(0, 1), as: ARITHMETIC.mul },
  { builtin: 'plus', name: 'opa_arith_plus', arity: 2, when: odd(0, 1), as: ARITHMETIC.plus },
  { builtin: 'product', name: 'opa_agg_product', arity: 1, as: ARITHMETIC.product },
  { builtin: 'rem', name: 'opa_arith_rem', arity: 2, when: odd(0, 1), as: ARITHMETIC.rem },
  { builtin: 'round', name: 'opa_arith_round', arity: 1, when: odd(0), as: ARITHMETIC.round },
  { builtin: 'sum', name: 'opa_agg_sum', arity: 1, as: ARITHMETIC.sum },
  { builtin: 'array.slice', name: 'opa_array_slice', arity: 3, when: odd(1, 2), as: LISTS['array.slice'] },
  { builtin: 'base64.decode', name: 'opa_base64_decode', arity: 1, as: BASE64['base64.decode'] },
  { builtin: 'base64.is_valid', name: 'opa_base64_is_valid', arity: 1, as: BASE64['base64.is_valid'] },
  { builtin: 'base64url.decode', name: 'opa_base64_url_decode', arity: 1, as: BASE64['base64url.decode'] },
  { builtin: 'bits.and', name: 'opa_bits_and', arity: 2, as: BITS['bits.and'] },
  { builtin: 'bits.lsh', name: 'opa_bits_shiftleft', arity: 2, as: BITS['bits.lsh'] },
  { builtin: 'bits.negate', name: 'opa_bits_negate', arity: 1, as: BITS['bits.negate'] },
  { builtin: 'bits.or', name: 'opa_bits_or', arity: 2, as: BITS['bits.or'] },
  { builtin: 'bits.rsh', name: 'opa_bits_shiftright', arity: 2, as: BITS['bits.rsh'] },
  { builtin: 'bits.xor', name: 'opa_bits_xor', arity: 2, as: BITS['bits.xor'] },
  { builtin: 'concat', name: 'opa_strings_concat', arity: 2, when: [['set', 1]], as: TEXTS.concat },
  {
    builtin: 'format_int',
    name: 'opa_strings_format_int',
    arity: 2,
    when: [
      ['large', 0],
      ['notTen', 1],
    ],
    as: TEXTS.format_int,
  },
  { builtin: 'indexof', name: 'opa_strings_indexof', arity: 2, when: [['emptyText', 1]], as: TEXTS.indexof },
  { builtin: 'glob.match', name: 'opa_glob_match', arity: 3, as: globMatch },
  {
    builtin: 'internal.template_string',
    name: 'opa_template_string',
    arity: 1,
    as: TEXTS['internal.template_string'],
  },
  { builtin: 'json.filter', name: 'builtin_json_filter', arity: 2, as: JSON_PATHS['json.filter'] },
  { builtin: 'json.is_valid', name: 'opa_json_is_valid', arity: 1, as: isJson },
  { builtin: 'json.marshal', name: 'opa_json_marshal', arity: 1, as: ([of]) => marshal(of as Value) },
  { builtin: 'json.remove', name: 'builtin_json_remove', arity: 2, as: JSON_PATHS['json.remove'] },
  { builtin: 'json.unmarshal', name: 'opa_json_unmarshal', arity: 1, as: ([of]) => readJson(text(of)) },
  { builtin: 'lower', name: 'opa_strings_lower', arity: 1, when: [['wide', 0]], as: TEXTS.lower },
  { builtin: 'max', name: 'opa_agg_max', arity: 1, when: [['oddInside', 0]], as: LISTS.max },
  { builtin: 'min', name: 'opa_agg_min', arity: 1, when: [['oddInside', 0]], as: LISTS.min },
  { builtin: 'net.cidr_contains', name: 'opa_cidr_contains', arity: 2, as: NATIVE_NET['net.cidr_contains'] },
  {
    builtin: 'net.cidr_intersects',
    name: 'opa_cidr_intersects',
    arity: 2,
    as: NATIVE_NET['net.cidr_intersects'],
  },
  {
    // Equal numbers that are spelt otherwise must come together in sets and objects.
    builtin: 'sets and keys',
    name: 'opa_number_hash',
    arity: 1,
    when: odd(0),
    as: numberHash,
    bare: true,
  },
  {
    builtin: 'numbers.range',
    name: 'opa_numbers_range',
    arity: 2,
    when: odd(0, 1),
    as: LISTS['numbers.range'],
  },
  {
    builtin: 'object.union_n',
    name: 'builtin_object_union_n',
    arity: 1,
    when: [['noMembers', 0]],
    as: LISTS['object.union_n'],
  },
  {
    builtin: 'regex.find_all_string_submatch_n',
    name: 'opa_regex_find_all_string_submatch',
    arity: 3,
    as: NATIVE_REGEX['regex.find_all_string_submatch_n'],
  },
  { builtin: 'regex.is_valid', name: 'opa_regex_is_valid', arity: 1, as: NATIVE_REGEX['regex.is_valid'] },
  { builtin: 'regex.match', name: 'opa_regex_match', arity: 2, as: NATIVE_REGEX['regex.match'] },
  {
    builtin: 'replace',
    name: 'opa_strings_replace',
    arity: 3,
    when: [['emptyText', 1]],
    as: REPLACERS.replace,
  },
  {
    builtin: 'strings.replace_n',
    name: 'opa_strings_replace_n',
    arity: 2,
    as: REPLACERS['strings.replace_n'],
  },
  { builtin: 'substring', name: 'opa_strings_substring', arity: 3, when: odd(1, 2), as: TEXTS.substring },
  { builtin: 'to_number', name: 'opa_to_number', arity: 1, when: [['text', 0]], as: TEXTS.to_number },
  { builtin: 'upper', name: 'opa_strings_upper', arity: 1, when: [['wide', 0]], as: TEXTS.upper },
]
