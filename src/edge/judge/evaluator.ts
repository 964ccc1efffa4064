import * as sdk from '@open-policy-agent/opa-wasm'

/** The package exports this on its default only, which its types do not tell. */
const { loadPolicySync } = (sdk as unknown as { default: typeof sdk }).default

/** Memory of one instance, in pages of 64 KiB: a policy that wants more is aborted, not served. */
const MEMORY = { initial: 64, maximum: 4096 }

export type Evaluator = {
  /** OPA's result set. @throws Error for whatever the policy or the host threw; the instance is spoiled then */
  evaluate: (entrypoint: string, input: object) => unknown
  spoiled: () => boolean
  /** a new instance, with its data: milliseconds for little data, seconds for much */
  restore: () => void
  entrypoints: string[]
}

/**
 * One policy with its data, in this thread. After any throw the instance is replaced: an abort leaves the stack of
 * the module where it was, and enough of them kill it for good.
 */
export function createEvaluator(module: WebAssembly.Module, data: object): Evaluator {
  const load = () => {
    const policy = loadPolicySync(module, { ...MEMORY })
    policy.setData(data)
    return policy
  }
  let policy: ReturnType<typeof load> | undefined = load()
  return {
    entrypoints: Object.keys(policy.entrypoints),
    evaluate(entrypoint, input) {
      if (!policy) throw new Error('the evaluator is spoiled')
      try {
        // An object always: the library evaluates falsy values, and bytes that do not parse, without any input.
        return policy.evaluate(input, entrypoint)
      } catch (thrown) {
        policy = undefined
        throw thrown instanceof Error ? thrown : new Error(messageOf(thrown))
      }
    },
    spoiled: () => policy === undefined,
    restore() {
      policy ??= load()
    },
  }
}

/** The library throws strings and plain objects too. */
function messageOf(thrown: unknown): string {
  if (typeof thrown === 'string') return thrown
  if (typeof thrown === 'object' && thrown !== null && 'message' in thrown) return String(thrown.message)
  return 'the evaluation failed'
}

/** Builtins that the module asks of its host (ABI: the export `builtins`). */
export function builtinsOf(module: WebAssembly.Module): string[] {
  const policy = loadPolicySync(module, { ...MEMORY })
  const { wasmInstance, mem } = policy as unknown as {
    wasmInstance: { exports: { builtins: () => number; opa_json_dump: (address: number) => number } }
    mem: WebAssembly.Memory
  }
  const at = wasmInstance.exports.opa_json_dump(wasmInstance.exports.builtins())
  const bytes = new Uint8Array(mem.buffer, at)
  return Object.keys(JSON.parse(Buffer.from(bytes.subarray(0, bytes.indexOf(0))).toString('utf8')))
}
