import { type Builtin, number } from './operand.ts'
import { Num } from './value.ts'

/**
 * The hash of a number as the module makes it, of the nearest double (wasm/src/value.c). The module reads decimals with
 * small errors, so that it takes `100e-2` and `1` for two; JavaScript reads them right.
 */
export const numberHash: Builtin = ([value]) => {
  const bytes = new DataView(new ArrayBuffer(8))
  // There is one zero.
  bytes.setFloat64(0, Number(number(value).text) || 0, true)
  let hash = 0x811c9dc5
  for (let i = 0; i < 8; i++) hash = Math.imul(hash, 0x01000193) ^ bytes.getUint8(i)
  return new Num(hash >>> 0)
}
