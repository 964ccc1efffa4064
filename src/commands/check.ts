import type { Command } from './command.ts'
import { CONFIG_OPTIONS, CONFIG_USAGE, configure } from './configure.ts'

export const command: Command = {
  usage: `Usage: mcp-opa-sidecar check --config-file FILE [--set KEY=VALUE ...]

Says all that is wrong with a configuration, and stops.

Options:
${CONFIG_USAGE}`,
  options: CONFIG_OPTIONS,
  async run(words, terminal) {
    configure(words, terminal)
    terminal.stdout.write('the configuration is sound\n')
    return 0
  },
}
