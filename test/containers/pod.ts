import { execFile } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { GenericContainer, type StartedTestContainer, Wait } from 'testcontainers'
import { createIssuer, type Issuer } from '../support/assertions.ts'
import { type EventLine, sidecarConfig } from '../support/sidecar.ts'

const run = promisify(execFile)
export const IMAGE = 'mcp-opa-sidecar:test'
export const DEMO_IMAGE = 'mcp-opa-sidecar-demo:test'
const SPOOL = '/var/lib/mcp-opa-sidecar'

export const docker = async (...args: string[]): Promise<string> =>
  (await run('docker', args, { maxBuffer: 64 << 20 })).stdout

export type Pod = {
  issuer: Issuer
  sidecar: StartedTestContainer
  url: string
  /** the records, read in the container */
  records: () => Promise<EventLine[]>
  /** SIGTERM; what it ended with: 137 is that it was killed, after far longer than it may take */
  stop: () => Promise<number>
}
export type PodOptions = {
  volume?: string
  megabytes?: number
  issuer?: Issuer
  config?: Record<string, unknown>
}

class ReadOnly extends GenericContainer {
  constructor(image: string) {
    super(image)
    this.hostConfig.ReadonlyRootfs = true
  }
}

/**
 * The sidecar from its image and the embedded MCP server in its network, as in a pod: non-root, read-only, without
 * capabilities. The server listens on the loopback address that the two share.
 */
export async function startPod({
  volume,
  megabytes,
  issuer = createIssuer(),
  config = {},
}: PodOptions = {}): Promise<Pod> {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-pod-'))
  const settings = sidecarConfig(
    {
      upstream: 'http://127.0.0.1:8082/mcp',
      jwks: issuer.jwks,
      config: {
        bundles: { mcp: { resource: '/app/bundles/default.tar.gz' } },
        plugins: { mcp: { addr: '0.0.0.0:8081', admin_addr: '127.0.0.1:8282', ...config } },
      },
    },
    SPOOL,
  )
  writeFileSync(join(folder, 'config.yaml'), JSON.stringify(settings))
  // The folder of a test is its owner's; the image runs as somebody else.
  chmodSync(folder, 0o755)
  const container = new ReadOnly(IMAGE)
    .withExposedPorts(8081)
    .withUser('65532:65532')
    .withDroppedCapabilities('ALL')
    .withSecurityOpt('no-new-privileges:true')
    .withBindMounts([
      { source: folder, target: '/etc/mcp-opa-sidecar', mode: 'ro' },
      ...(volume === undefined ? [] : [{ source: volume, target: SPOOL, mode: 'rw' as const }]),
    ])
    .withWaitStrategy(Wait.forHealthCheck())
  if (megabytes !== undefined) container.withResourcesQuota({ memory: megabytes / 1024 })
  const sidecar = await container.start()
  const server = await new GenericContainer(DEMO_IMAGE)
    .withNetworkMode(`container:${sidecar.getId()}`)
    .withEnvironment({ PORT: '8082' })
    .withWaitStrategy(Wait.forLogMessage(/127\.0\.0\.1:8082/))
    .start()
  let ended: Promise<number> | undefined
  const end = async () => {
    await server.stop()
    // Not its own `stop`: that gives no grace, so that SIGKILL comes with SIGTERM.
    await docker('stop', '--time', '20', sidecar.getId())
    const [{ State }] = JSON.parse(await docker('inspect', sidecar.getId()))
    await sidecar.stop()
    rmSync(folder, { recursive: true, force: true })
    return State.ExitCode
  }
  return {
    issuer,
    sidecar,
    url: `http://localhost:${sidecar.getMappedPort(8081)}/mcp`,
    async records() {
      // The image has no shell and no cat; it has Node.
      const script = `const fs = require('fs'); for (const name of fs.readdirSync('${SPOOL}').sort()) if (name.endsWith('.jsonl')) process.stdout.write(fs.readFileSync('${SPOOL}/' + name))`
      const { output } = await sidecar.exec(['/usr/local/bin/node', '-e', script])
      return output
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as EventLine)
    },
    stop() {
      ended ??= end()
      return ended
    },
  }
}
