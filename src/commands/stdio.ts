import { homedir } from 'node:os'
import { basename, join } from 'node:path'
import { takeSlot } from '../edge/audit/slot.ts'
import { serveStdio } from '../edge/stdio/in.ts'
import { createHandler } from '../pep/handle.ts'
import { type Command, type Terminal, type Words, WrongUse } from './command.ts'
import { compose } from './compose.ts'
import { configure } from './configure.ts'
import { createLog } from './run.ts'

export const command: Command = {
  usage: `Usage: mcp-opa-sidecar stdio [OPTIONS] -- SERVER [ARGS ...]
       mcp-opa-sidecar stdio [OPTIONS] --upstream URL

Decides what an agent on this machine may do: stands in the place of an MCP server in the configuration of an editor or
a desktop agent, starts that server, and speaks MCP on its standard streams. Who asks is what the options say
(records: \`source: configured\`). The server has the environment of this process. Logs are JSON on stderr.

Options:
  -c, --config-file FILE   as for run; plugins.mcp.identity must be development, and no output stdout
  -b, --bundle FILE        the policy (bundles.mcp.resource)
      --server NAME        what policies call the server (plugins.mcp.server); by default the name of the program
      --upstream URL       a server over HTTP in place of one that is started (plugins.mcp.upstream.url)
      --subject NAME       who asks; by default the user of this process
      --group GROUP        a group of who asks; may come several times
      --email ADDRESS      of who asks
      --spool FOLDER       where the records go; by default a folder of this process below
                           $XDG_STATE_HOME/mcp-opa-sidecar/NAME (~/.local/state/…)
      --set KEY=VALUE      sets one value of the configuration
      --log-level LEVEL    debug (with what the server writes to stderr), info, warn (default), error
`,
  options: {
    'config-file': { type: 'string', short: 'c' },
    bundle: { type: 'string', short: 'b' },
    server: { type: 'string' },
    upstream: { type: 'string' },
    subject: { type: 'string' },
    group: { type: 'string', multiple: true },
    email: { type: 'string' },
    spool: { type: 'string' },
    set: { type: 'string', multiple: true },
    'log-level': { type: 'string' },
  },
  positionals: Number.POSITIVE_INFINITY,
  async run(words, terminal) {
    const { config, giveBack } = prepare(words, terminal)
    const { identity } = config.mcp
    if (identity.kind !== 'development')
      throw new WrongUse(
        'plugins.mcp.identity: must be development here: nothing brings an assertion over stdio (or use run)',
      )
    if (config.mcp.upstream.kind === 'http' && config.mcp.upstream.transport === 'sse')
      throw new WrongUse('plugins.mcp.upstream.transport: sse can be served as HTTP with SSE only (use run)')
    if (config.audit.outputs.some((output) => output.type === 'stdout'))
      throw new WrongUse(
        'plugins.mcp_audit.output: stdout is the protocol here; take another output, e.g. file',
      )
    const log = createLog((words.values['log-level'] as string | undefined) ?? 'warn', terminal)
    const { stdin, stdout, env, version } = terminal
    try {
      const core = await compose(config, { log, stdout, env, version })
      log.info({ server: config.mcp.server, revision: core.revision }, 'serving on stdin and stdout')
      const served = serveStdio(
        createHandler(core.context),
        { identity: identity.identity, limits: core.context.settings.limits, drain: config.mcp.drain },
        { stdin, stdout },
        ({ text, decision_id }) =>
          log.warn({ decision_id, answer: text.slice(0, 1000) }, 'a message was refused'),
      )
      for (const signal of ['SIGTERM', 'SIGINT'] as const) terminal.on(signal, served.stop)
      const end = await served.ended
      const clean = end === 'eof' || end === 'cut'
      if (!clean) log.error({ end }, 'stopped')
      await core.close(clean)
      giveBack()
      return terminal.exit(clean ? 0 : 1)
    } catch (error) {
      log.fatal({ error: (error as Error).message }, 'could not start')
      return terminal.exit(1)
    }
  },
}

/** The configuration of the file, with what the options say, and what is left open filled in for one person's machine. */
function prepare({ positionals, values }: Words, terminal: Terminal) {
  const { env } = terminal
  const option = (name: string) => values[name] as string | undefined
  const file = option('config-file')
  const sets = [...((values.set as string[] | undefined) ?? [])]
  const set = (key: string, value: unknown) => void sets.push(`${key}=${JSON.stringify(value)}`)
  const isSet = (key: string) => sets.some((line) => line.startsWith(key))
  if (positionals.length > 0) set('plugins.mcp.upstream.command', positionals)
  const name =
    option('server') ?? (file === undefined && positionals[0] ? basename(positionals[0]) : undefined)
  if (name !== undefined) set('plugins.mcp.server', name)
  const groups = values.group as string[] | undefined
  const subject = option('subject') ?? (file === undefined ? (env.USER ?? env.USERNAME) : undefined)
  if (subject !== undefined) set('plugins.mcp.identity.development.subject', subject)
  if (groups !== undefined) set('plugins.mcp.identity.development.groups', groups)
  const email = option('email')
  if (email !== undefined) set('plugins.mcp.identity.development.email', email)
  let giveBack = () => {}
  const spool = option('spool')
  if (spool !== undefined) set('plugins.mcp_audit.buffer.path', spool)
  else if (file === undefined && !isSet('plugins.mcp_audit')) {
    const state = env.XDG_STATE_HOME ?? join(env.HOME ?? homedir(), '.local', 'state')
    const slot = takeSlot(join(state, 'mcp-opa-sidecar', (name ?? 'server').replace(/[^\w.-]/g, '_')))
    giveBack = slot.giveBack
    set('plugins.mcp_audit.buffer.path', slot.folder)
  }
  const given = { ...values, set: sets, server: undefined }
  const config = configure({ positionals: [], values: given }, terminal)
  const { upstream } = config.mcp
  // As without the sidecar: what an editor is told to give to the server, it gives to this process.
  if (upstream.kind === 'stdio') upstream.env = { ...(env as Record<string, string>), ...upstream.env }
  return { config, giveBack }
}
