import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { buildPolicy, CAPABILITIES, LIBRARY } from '../edge/bundles/build.ts'
import { BundleError } from '../edge/bundles/failure.ts'
import { findOpa, OPA_MINOR, OpaError } from '../edge/opa.ts'
import { type Command, type Terminal, type Words, WrongUse } from './command.ts'

/** The options of each command that compiles a policy. */
export const POLICY_OPTIONS = {
  opa: { type: 'string' },
  library: { type: 'string' },
  'no-library': { type: 'boolean' },
  capabilities: { type: 'string' },
  path: { type: 'string' },
} as const

export const POLICY_USAGE = `      --path ENTRYPOINT        of decisions (default mcp/main/decision)
      --library FOLDER         another library than the one that comes with the program
      --no-library             none: the folders have it all
      --capabilities FILE      another list of what a policy may call
      --opa FILE               opa ${OPA_MINOR}x, if it is not the one on PATH
`

/** Passed to \`opa build\` as they are. */
const SIGNING = ['signing-key', 'signing-alg', 'claims-file', 'scope', 'signing-plugin'] as const

export const command: Command = {
  usage: `Usage: mcp-opa-sidecar build [OPTIONS] FOLDER...

Compiles folders of policy and data, with the library, to a bundle, and loads it as the sidecar would: entrypoints,
builtins, memory, and the canaries in data.config.canaries. Only a bundle that passes is written. The same sources make
the same bytes, whatever the folders are called.

Options:
  -o, --output FILE            the bundle (default bundle.tar.gz)
  -r, --revision TEXT          of the bundle (default: a digest of the sources)
  -e, --entrypoint PATH        one more entrypoint; may be repeated
${POLICY_USAGE}      --signing-key, --signing-alg, --claims-file, --scope, --signing-plugin
                               as of opa build; RS256 makes the same bytes, ES256 and PS256 do not
`,
  positionals: 64,
  options: {
    ...POLICY_OPTIONS,
    output: { type: 'string', short: 'o' },
    revision: { type: 'string', short: 'r' },
    entrypoint: { type: 'string', short: 'e', multiple: true },
    ...Object.fromEntries(SIGNING.map((name) => [name, { type: 'string' }] as const)),
  },
  async run(words, terminal) {
    const { values } = words
    const output = (values.output as string | undefined) ?? 'bundle.tar.gz'
    const more = SIGNING.flatMap((name) => {
      const value = values[name] as string | undefined
      if (value === undefined) return []
      const file = name === 'signing-key' || name === 'claims-file'
      return [`--${name}`, file && existsSync(value) ? resolve(value) : value]
    })
    const policyWords = policyOf(words)
    return saying(terminal, async () => {
      const opa = await opaOf(words, terminal)
      const { revision, policy } = await buildPolicy(opa, {
        ...policyWords,
        output,
        revision: values.revision as string | undefined,
        entrypoints: (values.entrypoint as string[] | undefined) ?? [],
        more,
      })
      const { policy: wasm, data } = policy.digests
      terminal.stdout.write(`${output}\nrevision ${revision}\npolicy   ${wasm}\ndata     ${data}\n`)
      return 0
    })
  },
}

export const opaOf = ({ values }: Words, terminal: Terminal) =>
  findOpa(values.opa as string | undefined, terminal.env.PATH)

/** The folders and what goes with them. @throws WrongUse */
export function policyOf({ positionals, values }: Words) {
  if (positionals.length === 0) throw new WrongUse('needs a folder of policy and data\nTry --help.')
  for (const folder of positionals)
    if (!existsSync(folder)) throw new WrongUse(`there is no folder ${folder}`)
  const capabilities = (values.capabilities as string | undefined) ?? CAPABILITIES
  if (!existsSync(capabilities)) throw new WrongUse(`there is no file ${capabilities}`)
  const library = values['no-library'] ? undefined : ((values.library as string | undefined) ?? LIBRARY)
  return {
    folders: positionals,
    library,
    capabilities,
    path: (values.path as string | undefined) ?? 'mcp/main/decision',
  }
}

/** What is wrong with a policy is said as it is; anything else is a fault of ours. */
export async function saying(terminal: Terminal, work: () => Promise<number>): Promise<number> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof OpaError) && !(error instanceof BundleError)) throw error
    terminal.stderr.write(`mcp-opa-sidecar: ${error.message}\n`)
    return 1
  }
}
