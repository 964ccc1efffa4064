import type { Config } from '../config.ts'
import { BundleError } from '../edge/bundles/failure.ts'
import { readFiles } from '../edge/bundles/files.ts'
import { loadPolicy } from '../edge/bundles/load.ts'
import type { Source } from '../edge/judge/bundle.ts'
import { createEvaluator } from '../edge/judge/evaluator.ts'
import type { Command, Terminal } from './command.ts'
import { CONFIG_OPTIONS, CONFIG_USAGE, configure } from './configure.ts'

export const command: Command = {
  usage: `Usage: mcp-opa-sidecar check --config-file FILE [--set KEY=VALUE ...]

Says all that is wrong with a configuration and, once it reads, with its bundles, and stops. Bundles that are files are
loaded as for serving: signatures, entrypoints, builtins, canaries. What comes from a service is not fetched.

Options:
${CONFIG_USAGE}
Exit codes: 0 sound, 1 the bundles are not, 64 the configuration is not.
`,
  options: CONFIG_OPTIONS,
  async run(words, terminal) {
    const config = configure(words, terminal)
    if (!(await bundlesAreSound(config, terminal))) return 1
    terminal.stdout.write('the configuration is sound\n')
    return 0
  },
}

async function bundlesAreSound({ bundles, mcp }: Config, { stdout, stderr }: Terminal): Promise<boolean> {
  const sources: Source[] = []
  const faults: string[] = []
  let fetched = false
  for (const [name, source] of Object.entries(bundles)) {
    if (source.kind === 'service') {
      stdout.write(`bundle ${name} comes from a service, and is not looked at\n`)
      fetched = true
      continue
    }
    const { path, ...rest } = source
    try {
      sources.push({ ...rest, name, content: await readFiles(name, path, source.limits) })
    } catch (error) {
      if (!(error instanceof BundleError)) throw error
      faults.push(error.message)
    }
  }
  // What is fetched may have the other half: the entrypoints, or the data.
  if (!fetched && faults.length === 0) {
    try {
      const policy = await loadPolicy(sources, mcp.path)
      for (const [name, { revision }] of Object.entries(policy.revisions))
        stdout.write(`bundle ${name}: revision ${revision ?? 'none'}\n`)
      const { entrypoints } = createEvaluator(policy.module, policy.data)
      stdout.write(`entrypoints: ${entrypoints.sort().join(', ')}\n`)
    } catch (error) {
      if (!(error instanceof BundleError)) throw error
      faults.push(error.message)
    }
  }
  for (const fault of faults) stderr.write(`mcp-opa-sidecar: ${fault}\n`)
  return faults.length === 0
}
