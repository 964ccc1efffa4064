import type { Config } from '../config.ts'
import { createFetch, reasonOf } from '../edge/bundles/download.ts'
import { BundleError } from '../edge/bundles/failure.ts'
import { readFiles } from '../edge/bundles/files.ts'
import { loadPolicy } from '../edge/bundles/load.ts'
import type { BundleSource } from '../edge/bundles/settings.ts'
import { readOne, type Source, type Told } from '../edge/judge/bundle.ts'
import { createEvaluator } from '../edge/judge/evaluator.ts'
import { createService } from '../edge/services/client.ts'
import type { Command, Terminal } from './command.ts'
import { CONFIG_OPTIONS, CONFIG_USAGE, configure } from './configure.ts'

export const command: Command = {
  usage: `Usage: mcp-opa-sidecar check --config-file FILE [--fetch] [--set KEY=VALUE ...]

Says all that is wrong with a configuration and, once it reads, with its bundles, and stops. Bundles that are files are
looked into: revision, signature, sequence, roots; and where all are there, they are loaded as for serving: entrypoints,
builtins, canaries. What comes from a service is fetched only with --fetch.

Options:
      --fetch              asks the services and registries for their bundles, once
${CONFIG_USAGE}
Exit codes: 0 sound, 1 the bundles are not, 64 the configuration is not.
`,
  options: { ...CONFIG_OPTIONS, fetch: { type: 'boolean' } },
  async run(words, terminal) {
    const config = configure(words, terminal)
    if (!(await bundlesAreSound(config, terminal, words.values.fetch === true))) return 1
    terminal.stdout.write('the configuration is sound\n')
    return 0
  },
}

/** Milliseconds for one bundle. */
const WITHIN = 60_000

async function bundlesAreSound(
  { bundles, mcp }: Config,
  { stdout, stderr, version }: Terminal,
  fetched: boolean,
): Promise<boolean> {
  const sources: Source[] = []
  const faults: string[] = []
  const faultOf = (error: unknown) => {
    if (!(error instanceof BundleError)) throw error
    faults.push(error.message)
  }
  let left = false
  for (const [name, source] of Object.entries(bundles)) {
    if (source.kind === 'service' && !fetched) {
      stdout.write(`bundle ${name} comes from the service ${source.service.name}: --fetch looks into it\n`)
      left = true
      continue
    }
    try {
      const { limits, signing } = source
      const content =
        source.kind === 'file'
          ? await readFiles(name, source.path, limits)
          : { bytes: await fetchOnce(name, source, `mcp-opa-sidecar/${version}`) }
      const held = { name, content, limits, ...(signing && { signing }) }
      stdout.write(line(name, await readOne(held)))
      sources.push(held)
    } catch (error) {
      faultOf(error)
    }
  }
  // What was not fetched may have the other half: the entrypoints, or the data.
  const whole = !left && faults.length === 0
  for (const names of whole ? policiesOf(Object.keys(bundles), mcp.candidate) : []) {
    try {
      const policy = await loadPolicy(
        sources.filter(({ name }) => names.includes(name)),
        mcp.path,
      )
      const { entrypoints } = createEvaluator(policy.module, policy.data)
      stdout.write(`${names.join(' + ')}: entrypoints ${entrypoints.sort().join(', ')}\n`)
    } catch (error) {
      faultOf(error)
    }
  }
  for (const fault of faults) stderr.write(`mcp-opa-sidecar: ${fault}\n`)
  return faults.length === 0
}

/** The bundles of the policy in force and, where there is one, of the candidate. */
function policiesOf(names: string[], candidate: Record<string, string>): string[][] {
  const tried = new Set(Object.values(candidate))
  const enforced = names.filter((name) => !tried.has(name))
  return tried.size === 0 ? [enforced] : [enforced, enforced.map((name) => candidate[name] ?? name)]
}

async function fetchOnce(
  name: string,
  source: Extract<BundleSource, { kind: 'service' }>,
  userAgent: string,
): Promise<Uint8Array> {
  const client = createService(source.service, userAgent)
  try {
    const asked = { etag: undefined, wait: undefined, signal: AbortSignal.timeout(WITHIN) }
    const { bytes } = await createFetch(name, source, client)(asked)
    return bytes ?? new Uint8Array()
  } catch (error) {
    if (error instanceof BundleError) throw error
    throw new BundleError('unreachable', `bundle ${name}: ${reasonOf(error)}`)
  } finally {
    await client.close()
  }
}

function line(name: string, { revision, roots, sequence, signedBy, wasm }: Told): string {
  const told = [
    `revision ${revision ?? 'none'}`,
    wasm ? 'policy' : 'data only',
    signedBy === undefined ? 'signature not verified (no keys)' : `signed with the key ${signedBy}`,
    ...(sequence === undefined ? [] : [`sequence ${sequence}`]),
    `roots ${roots.map((root) => root || '"" (all)').join(' ')}`,
  ]
  return `bundle ${name}: ${told.join(', ')}\n`
}
