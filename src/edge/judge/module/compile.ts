import { NATIVES } from '../builtins/natives.ts'
import { withMemoLists } from './memo.ts'
import { type Replaced, rewritten } from './rewrite.ts'

/** Above all numbers that OPA's compiler gives, which are places in a list. */
export const FIRST_ID = 1 << 24

const REPLACED: readonly Replaced[] = NATIVES.map(({ name, arity, when }, i) => ({
  name,
  id: FIRST_ID + i,
  arity,
  ...(when && { when }),
}))

/**
 * `policy.wasm` as it is evaluated: what OPA's compiler put in it that answers otherwise than `opa eval` asks the host,
 * and what its rules came to is found without hashing.
 * @throws ModuleError, WebAssembly.CompileError
 */
export const compilePolicy = (wasm: Uint8Array): WebAssembly.Module =>
  new WebAssembly.Module(withMemoLists(rewritten(wasm, REPLACED)))
