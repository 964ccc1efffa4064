import { NATIVES } from '../builtins/natives.ts'
import { withInterrupts } from './interrupts.ts'
import { withMemoLists } from './memo.ts'
import { type Replaced, rewritten } from './rewrite.ts'

/** Above all numbers that OPA's compiler gives, which are places in a list. */
export const FIRST_ID = 1 << 24
/** The question whether to go on. */
export const GO_ON = FIRST_ID + NATIVES.length

const REPLACED: readonly Replaced[] = NATIVES.map(({ name, arity, when }, i) => ({
  name,
  id: FIRST_ID + i,
  arity,
  ...(when && { when }),
}))

/**
 * `policy.wasm` as it is evaluated: what OPA's compiler put in it that answers otherwise than `opa eval` asks the host,
 * what its rules came to is found without hashing, and it asks now and then whether to go on.
 * @throws ModuleError, WebAssembly.CompileError
 */
export const compilePolicy = (wasm: Uint8Array): WebAssembly.Module =>
  new WebAssembly.Module(withInterrupts(withMemoLists(rewritten(wasm, REPLACED)), GO_ON))
