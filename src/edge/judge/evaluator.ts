import { parseExact } from '../../mcp/strict-json.ts'
import { NATIVES } from './builtins/natives.ts'
import type { Builtin, Call } from './builtins/operand.ts'
import { HOST_BUILTINS } from './builtins/registry.ts'
import {
  Num,
  OperandError,
  RegoObject,
  RegoSet,
  readValue,
  type Value,
  writeValue,
} from './builtins/value.ts'
import { FIRST_ID, GO_ON } from './module/compile.ts'
import { layoutFault, scalarAt } from './module/layout.ts'

const PAGE = 65_536
/** Memory of one instance, in pages. */
const MEMORY = { initial: 64, maximum: 4096 }
/**
 * Pages that an evaluation may take besides its data, 64 MiB: so little that those of one policy that may run at once
 * fit beside the rest in half a GiB. A policy that wants more is aborted, not served.
 */
const SHARE = 1024
/** Bytes for each character of data as JSON while it is loaded, where that takes most: lists of one digit. */
const DENSEST = 96

export type Evaluator = {
  /** OPA's result set. @throws Error for whatever the policy or the host threw; the instance is spoiled then */
  evaluate: (entrypoint: string, input: object) => unknown
  spoiled: () => boolean
  /** a new instance, with its data: milliseconds for little data, seconds for much */
  restore: () => void
  entrypoints: string[]
}

/** What a module exports (OPA docs, "WebAssembly", ABI 1.2 and 1.3): numbers are addresses in its memory. */
type Exports = {
  opa_wasm_abi_version: WebAssembly.Global
  builtins: () => number
  entrypoints: () => number
  eval: (context: number) => number
  opa_eval_ctx_new: () => number
  opa_eval_ctx_set_input: (context: number, value: number) => void
  opa_eval_ctx_set_data: (context: number, value: number) => void
  opa_eval_ctx_set_entrypoint: (context: number, id: number) => void
  opa_eval_ctx_get_result: (context: number) => number
  opa_heap_ptr_get: () => number
  opa_heap_ptr_set: (address: number) => void
  opa_json_dump: (value: number) => number
  opa_json_parse: (text: number, length: number) => number
  opa_malloc: (bytes: number) => number
  opa_value_dump: (value: number) => number
  opa_value_parse: (text: number, length: number) => number
}
type Instance = {
  exports: Exports
  entrypoints: Record<string, number>
  /** what the module asks of its host */
  asked: Record<string, number>
  write: (text: string, parse: 'opa_json_parse' | 'opa_value_parse') => number
  read: (address: number) => string
  /** of its memory */
  pages: () => number
  /** the call that builtins of the present evaluation see */
  call: Call
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** @param maximum pages of its memory */
function instantiate(module: WebAssembly.Module, maximum: number, goOn: () => void): Instance {
  const memory = new WebAssembly.Memory({ ...MEMORY, maximum: Math.min(MEMORY.maximum, maximum) })
  let view = Buffer.from(memory.buffer)
  // Growing the memory leaves the old view empty.
  const bytes = () => {
    if (view.length !== memory.buffer.byteLength) view = Buffer.from(memory.buffer)
    return view
  }
  const read = (address: number): string => {
    const all = bytes()
    return utf8.decode(all.subarray(address, all.indexOf(0, address)))
  }
  const names = new Map<number, string>()
  const decode = (text: Uint8Array) => utf8.decode(text)
  const argument = (address: number): Value =>
    scalarAt(bytes(), address, decode) ?? readValue(read(exports.opa_value_dump(address)))
  const builtin = (id: number, _context: number, ...args: number[]): number => {
    goOn()
    if (id === GO_ON) return 0
    const native = id >= FIRST_ID ? NATIVES[id - FIRST_ID] : undefined
    const implementation: Builtin | undefined = native?.as ?? HOST_BUILTINS.get(names.get(id) ?? '')
    if (!implementation) throw new Error(`the host has no builtin ${names.get(id) ?? id}`)
    const values = args.map(argument)
    let answer: Value
    try {
      answer = implementation(values, instance.call)
    } catch (thrown) {
      // OPA's errors of builtins make a call undefined; an abort would spoil the instance for each of them.
      if (thrown instanceof OperandError) return 0
      throw thrown
    }
    if (native?.bare) return Number((answer as Num).text)
    return write(writeValue(answer), 'opa_value_parse')
  }
  const env = {
    memory,
    opa_abort: (address: number) => {
      throw new Error(read(address))
    },
    opa_println: () => undefined,
    ...Object.fromEntries([0, 1, 2, 3, 4].map((arity) => [`opa_builtin${arity}`, builtin])),
  }
  const exports = new WebAssembly.Instance(module, { env }).exports as unknown as Exports
  const write = (text: string, parse: 'opa_json_parse' | 'opa_value_parse'): number => {
    const length = Buffer.byteLength(text)
    const address = exports.opa_malloc(length)
    bytes().write(text, address, length, 'utf8')
    const value = exports[parse](address, length)
    if (value === 0) throw new Error('a value that the module cannot read')
    return value
  }
  if (exports.opa_wasm_abi_version?.value !== 1)
    throw new Error('a module of another ABI than 1: build it with OPA 1.x')
  const asked = JSON.parse(read(exports.opa_json_dump(exports.builtins()))) as Record<string, number>
  for (const [name, id] of Object.entries(asked)) {
    names.set(id, name)
    HOST_BUILTINS.get(name)?.prepare?.()
  }
  const listed = exports.entrypoints()
  const entrypoints = JSON.parse(read(exports.opa_json_dump(listed))) as Record<string, number>
  const fault = layoutFault(
    bytes,
    (text) => write(text, 'opa_value_parse'),
    listed,
    Object.values(entrypoints),
  )
  if (fault) throw new Error(`a module that keeps ${fault} otherwise than OPA 1.22 does`)
  const pages = () => memory.buffer.byteLength / PAGE
  const instance: Instance = { exports, entrypoints, asked, write, read, pages, call: { now: noTime } }
  return instance
}

const noTime = (): never => {
  throw new Error('time.now_ns needs the time of the input, time_ms')
}

/**
 * One policy with its data, in this thread. After any throw the instance is replaced: an abort leaves the stack of
 * the module where it was, and enough of them kill it for good.
 * @param data the document, or its JSON
 * @param goOn called again and again while it evaluates, and at its end: what it throws ends the evaluation
 */
export function createEvaluator(
  module: WebAssembly.Module,
  data: object | string,
  goOn: () => void = () => undefined,
): Evaluator {
  const text = typeof data === 'string' ? data : JSON.stringify(data)
  let evaluating = false
  let maximum = MEMORY.initial + SHARE + Math.ceil((text.length * DENSEST) / PAGE)
  const load = () => {
    // To load data anew is nobody's evaluation, however long it takes.
    const instance = instantiate(module, maximum, () => {
      if (evaluating) goOn()
    })
    const address = instance.write(text, 'opa_json_parse')
    return { ...instance, data: address, heap: instance.exports.opa_heap_ptr_get(), own: instance }
  }
  let policy: ReturnType<typeof load> | undefined = load()
  // How much the data takes is known only now.
  const exact = policy.pages() + SHARE
  if (exact < maximum) {
    maximum = exact
    policy = load()
  }
  const { entrypoints } = policy
  return {
    entrypoints: Object.keys(entrypoints),
    evaluate(entrypoint, input) {
      if (!policy) throw new Error('the evaluator is spoiled')
      const { exports, heap, own } = policy
      evaluating = true
      try {
        const id = Object.hasOwn(entrypoints, entrypoint) ? entrypoints[entrypoint] : undefined
        if (id === undefined) throw new Error(`the policy has no entrypoint ${entrypoint}`)
        exports.opa_heap_ptr_set(heap)
        own.call = { now: () => nanosecondsOf(input) }
        // Text of our own making, read as JSON: bytes that do not parse would be evaluated without any input.
        const value = own.write(JSON.stringify(input), 'opa_json_parse')
        const context = exports.opa_eval_ctx_new()
        exports.opa_eval_ctx_set_input(context, value)
        exports.opa_eval_ctx_set_data(context, policy.data)
        exports.opa_eval_ctx_set_entrypoint(context, id)
        exports.eval(context)
        const answers = readAnswers(
          own.read(exports.opa_value_dump(exports.opa_eval_ctx_get_result(context))),
        )
        // What has not asked for a while must not come in late.
        goOn()
        return answers
      } catch (thrown) {
        policy = undefined
        throw thrown instanceof Error ? thrown : new Error('the evaluation failed')
      } finally {
        evaluating = false
      }
    },
    spoiled: () => policy === undefined,
    restore() {
      policy ??= load()
    },
  }
}

/** One time for the whole evaluation: the message's, or that of the event that is masked. */
function nanosecondsOf(input: object): bigint {
  const { time_ms, input: inner } = input as { time_ms?: unknown; input?: { time_ms?: unknown } }
  const found = time_ms ?? inner?.time_ms
  return typeof found === 'number' && Number.isSafeInteger(found) ? BigInt(found) * 1_000_000n : noTime()
}

/** Digits that a double may not hold, and the empty set, which is what a mask comes to: it is no JSON, and to find that out by an error costs ten times as much as to read it. */
const NO_JSON = /\d{16}|set\(\)/

/** The set of answers as a list; sets in them come sorted, as lists. */
function readAnswers(text: string): unknown {
  if (text === 'set()') return []
  const inner = `[${text.slice(1, -1)}]`
  if (!NO_JSON.test(inner)) {
    try {
      return parseExact(inner)
    } catch {
      // What is no JSON has a set with members in it, or a key that is no text.
    }
  }
  return (readValue(inner) as Value[]).map(plain)
}

function plain(value: Value): unknown {
  if (value instanceof Num) {
    const number = Number(value.text)
    if (/^-?\d+$/.test(value.text) && !Number.isSafeInteger(number))
      throw new Error(`the answer has a number that JavaScript cannot hold: ${value.text.slice(0, 40)}`)
    return number
  }
  if (value instanceof RegoSet) return value.items.map(plain)
  if (value instanceof RegoObject)
    return Object.fromEntries(
      value.entries.map(([key, inner]) => [
        typeof key === 'string' ? key : JSON.stringify(plain(key)),
        plain(inner),
      ]),
    )
  return Array.isArray(value) ? value.map(plain) : value
}

/** Builtins that the module asks of its host (ABI: the export `builtins`). */
export const builtinsOf = (module: WebAssembly.Module): string[] =>
  Object.keys(instantiate(module, SHARE, () => undefined).asked)
