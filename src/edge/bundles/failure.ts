/** Why a bundle is not active: a closed set, for metrics; the text says which bundle and what to do about it. */
export type Failure =
  | 'unreachable'
  | 'http_status'
  | 'too_large'
  | 'malformed'
  | 'signature'
  | 'sequence'
  | 'roots'
  | 'data'
  | 'entrypoints'
  | 'contract'
  | 'builtins'
  | 'memory'
  | 'wasm'
  | 'canaries'
  | 'threads'
  | 'persistence'

export class BundleError extends Error {
  override name = 'BundleError'
  readonly code: Failure
  /** the bundle that is at fault, where it is one alone */
  bundle: string | undefined
  /** of a server that answered, where it is its status that is wrong */
  status: number | undefined

  constructor(code: Failure, text: string) {
    super(text)
    this.code = code
  }
}
