import type { Config } from '../config.ts'
import { readFiles } from '../edge/bundles/files.ts'
import { type Finding, fault, fine, note } from '../edge/doctor/finding.ts'
import {
  examineCommand,
  examineKeys,
  examineRoute,
  examineRunning,
  examineServer,
} from '../edge/doctor/network.ts'
import { examineSpool, examineTraffic } from '../edge/doctor/records.ts'
import { readPolicy, type Source } from '../edge/judge/bundle.ts'
import { type Command, WrongUse } from './command.ts'
import { CONFIG_OPTIONS, CONFIG_USAGE, configure } from './configure.ts'

export const command: Command = {
  usage: `Usage: mcp-opa-sidecar doctor --config-file FILE [--route URL] [--set KEY=VALUE ...]

Looks at the configuration, at what it names (bundles, keys, clock, MCP server, record) and at what the record says of the
traffic, and says for each mistake what to do. Run it where the sidecar runs; it changes nothing.

Options:
      --route URL          what agents use, e.g. https://github-mcp.example.com/mcp: asked without signing in
${CONFIG_USAGE}
Exit codes: 0 nothing wrong, 1 at least one fault, 64 the configuration cannot be read (all its faults are said).
`,
  options: { ...CONFIG_OPTIONS, route: { type: 'string' } },
  async run(words, terminal) {
    const config = configure(words, terminal)
    const route = words.values.route as string | undefined
    if (route !== undefined && !URL.canParse(route)) throw new WrongUse(`--route ${route}: must be a URL`)
    const findings = await examine(config, route, terminal.env.PATH ?? '')
    const faults = findings.filter(({ level }) => level === 'fault').length
    for (const { about, level, says, do: todo } of findings) {
      terminal.stdout.write(`${level.padEnd(5)}  ${about}: ${says}\n`)
      if (todo !== undefined) terminal.stdout.write(`       do: ${todo}\n`)
    }
    terminal.stdout.write(`${faults === 0 ? 'no fault' : `${faults} fault(s)`} found\n`)
    return faults === 0 ? 0 : 1
  },
}

async function examine(config: Config, route: string | undefined, path: string): Promise<Finding[]> {
  const { mcp, audit } = config
  const found: Finding[] = [await examineBundles(config).catch(badBundle)]
  if (mcp.identity.kind === 'pomerium') {
    const { keys, expected } = mcp.identity
    found.push(...(await examineKeys(keys, expected.tolerance)), examineNames(expected))
  } else
    found.push(
      note(
        'identity',
        'identity.development believes everybody to be one person',
        'before others use it, configure issuer, audience and jwks_url of Pomerium',
      ),
    )
  const { upstream } = mcp
  if (upstream.kind === 'http') found.push(...(await examineServer(upstream.url)))
  else found.push(examineCommand(upstream.command, upstream.env.PATH ?? path))
  found.push(
    ...examineSpool(audit.buffer.folder, audit.buffer.maxBytes),
    ...examineTraffic(audit.buffer.folder),
  )
  if (mcp.sessionKey === undefined)
    found.push(
      note(
        'sessions',
        "plugins.mcp.session_key is not set: sessions end with the process, and replicas refuse each other's",
        'set it to 32 random characters from a secret: openssl rand -hex 32',
      ),
    )
  if ('host' in mcp.adminAddr && mcp.adminAddr.port !== 0)
    found.push(await examineRunning(`${mcp.adminAddr.host}:${mcp.adminAddr.port}`))
  const keys = mcp.identity.kind === 'pomerium' ? mcp.identity.keys : undefined
  if (route !== undefined) found.push(await examineRoute(route, keys?.kind === 'url' ? keys.ca : undefined))
  return found
}

async function examineBundles({ bundles, mcp }: Config): Promise<Finding> {
  const sources: Source[] = []
  for (const [name, source] of Object.entries(bundles)) {
    if (source.kind !== 'file')
      return note(
        'bundles',
        `bundle ${name} is downloaded, which is not tried here`,
        'GET /v1/status of a running sidecar says whether and which is active',
      )
    sources.push({ name, content: await readFiles(name, source.path, source.limits), limits: source.limits })
  }
  const { revisions } = await readPolicy(sources, mcp.path)
  const named = Object.entries(revisions).map(
    ([name, { revision }]) => `${name} ${revision ?? '(no revision)'}`,
  )
  return fine('bundles', `can be activated: ${named.join(', ')}`)
}

const badBundle = (error: Error): Finding =>
  fault(
    'bundles',
    error.message,
    'build it with "opa build -t wasm -e mcp/main/decision -e mcp/main/visible --capabilities capabilities.json" (docs/policy.md)',
  )

/** Pomerium names the host of the route, without a port, as audience, and as issuer in one of two forms. */
function examineNames({ issuer, audience }: { issuer: string; audience: string }): Finding {
  const host = issuer.replace(/^https:\/\//, '').replace(/\/$/, '')
  if (/[/:]/.test(audience))
    return fault(
      'identity',
      `the audience ${audience} is no host name`,
      'write the host of the route, without scheme, port and path',
    )
  if (host !== audience)
    return fault(
      'identity',
      `the issuer ${issuer} and the audience ${audience} are of two hosts`,
      'Pomerium writes the host of the route into both: write that into both',
    )
  return fine('identity', `assertions of the route ${audience} are believed`)
}
