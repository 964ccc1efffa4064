/** What a process was started with, as `main.ts` sees it. */
export type Started = {
  env: Record<string, string | undefined>
  execArgv: string[]
  /** where the inspector listens, if it does */
  inspector: string | undefined
}

/** Options of Node under which something that is promised would not hold. */
const OPTIONS: [option: RegExp, why: string][] = [
  [/^--inspect(?!-publish-uid)/, 'whoever reaches the inspector runs code in this process'],
  [/^--insecure-http-parser$/, 'it takes ambiguous HTTP'],
  [/^--tls-keylog/, 'it writes the keys of connections to a file'],
]

/** Why a process that was started like this cannot keep what it promises; undefined if it can. */
export function guaranteesFault({ env, execArgv, inspector }: Started): string | undefined {
  if (env.NODE_TLS_REJECT_UNAUTHORIZED === '0')
    return 'NODE_TLS_REJECT_UNAUTHORIZED=0 would believe any key source; name its CA with ca_file instead'
  if (env.NODE_DEBUG || env.NODE_DEBUG_NATIVE) return 'NODE_DEBUG would write credentials to stderr; unset it'
  for (const option of [...execArgv, ...(env.NODE_OPTIONS ?? '').split(/[\s"']+/)]) {
    // Node takes underscores for dashes.
    const found = OPTIONS.find(([pattern]) => pattern.test(option.replaceAll('_', '-')))
    if (found) return `${option.split('=')[0]} is refused: ${found[1]}`
  }
  return inspector === undefined ? undefined : 'the inspector is open; start without it'
}
