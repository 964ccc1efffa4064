import { pino } from 'pino'
import type { Command, Terminal } from './command.ts'
import { CONFIG_OPTIONS, CONFIG_USAGE, configure } from './configure.ts'
import { startSidecar } from './sidecar.ts'

export const command: Command = {
  usage: `Usage: mcp-opa-sidecar run --config-file FILE [--set KEY=VALUE ...]

Serves until SIGTERM or SIGINT, then finishes what is in hand; a second signal ends it at once.

Options:
${CONFIG_USAGE}      --log-level LEVEL    debug, info (default), warn, error; logs are JSON on stderr
`,
  options: { ...CONFIG_OPTIONS, 'log-level': { type: 'string' } },
  async run(words, terminal) {
    const config = configure(words, terminal)
    const level = (words.values['log-level'] as string | undefined) ?? 'info'
    const log = createLog(level, terminal)
    const { stdout, env, version } = terminal
    let begun = false
    const begins = () => {
      begun = true
    }
    const starting = startSidecar(config, { log, stdout, env, version, begins })
    let stopping = false
    const stop = async (signal: string) => {
      if (stopping) return terminal.exit(1)
      stopping = true
      log.info({ signal }, 'stopping')
      // During the start there is nothing to finish, until the record has a beginning that wants its end.
      const clean = !begun || (await (await starting).stop())
      log.info({ clean }, 'stopped')
      terminal.exit(clean ? 0 : 1)
    }
    terminal.on('SIGTERM', () => void stop('SIGTERM'))
    terminal.on('SIGINT', () => void stop('SIGINT'))
    try {
      await starting
    } catch (error) {
      log.fatal({ error: (error as Error).message }, 'could not start')
      // Threads and timers that were begun before it failed.
      return terminal.exit(1)
    }
    return undefined
  },
}

/** The log of a process that serves, and the end of one whose state nobody thought of. */
export function createLog(level: string, terminal: Terminal) {
  const log = pino(
    { level, base: null, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ fd: terminal.stderrFd, sync: true }),
  )
  // Node's own answer to it opens the inspector.
  terminal.on('SIGUSR1', () => log.warn('SIGUSR1 does nothing here'))
  // A state that nobody thought of is no state to decide in: nothing passes when the process is gone.
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
    terminal.on(event, (error: unknown) => {
      log.fatal({ error: error instanceof Error ? error.stack : String(error) }, event)
      terminal.exit(1)
    })
  }
  return log
}
