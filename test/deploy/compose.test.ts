import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { readConfig } from '../../src/config.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const read = (path: string) => readFileSync(join(root, path), 'utf8')
type Service = {
  image: string
  ports?: string[]
  networks?: unknown
  network_mode?: string
  profiles?: string[]
  command?: string[]
  secrets?: unknown[]
  read_only?: boolean
  cap_drop?: string[]
  restart?: string
}
const file = parse(read('compose.yaml'), { merge: true }) as { services: Record<string, Service> }
const services = Object.entries(file.services)

describe('compose.yaml', () => {
  test.each(services)('%s is hardened, pinned, and published on loopback only', (name, service) => {
    expect(service.cap_drop).toEqual(['ALL'])
    expect(service.restart).toBe('unless-stopped')
    // OpenSearch and its interface write to their own folders.
    if (!name.startsWith('siem')) expect(service.read_only).toBe(true)
    for (const port of service.ports ?? []) expect(port).toMatch(/^127\.0\.0\.1:/)
    const tag = service.image.replace(/^\$\{\w+:-(.*)\}$/, '$1').split(':')[1]
    expect(tag).toMatch(/^(v?\d+\.\d+\.\d+|local)$/)
  })

  test('an MCP server has no network of its own, and the sidecar publishes nothing', () => {
    const servers = services.filter(
      ([, { profiles }]) => profiles?.includes('github') || profiles?.includes('demo'),
    )
    expect(servers.map(([name]) => name).sort()).toEqual(['demo', 'github'])
    for (const [, service] of servers) {
      expect(service.network_mode).toBe('service:sidecar')
      expect(service.networks).toBeUndefined()
      expect(service.ports).toBeUndefined()
    }
    expect(file.services.github?.command).toContain('--listen-host=127.0.0.1')
    expect(file.services.sidecar?.ports).toBeUndefined()
  })

  test('Pomerium is given its file under a name that says its form, and Dex under one that is no template', () => {
    const { pomerium, dex } = file.services
    const target = pomerium?.command?.[1]?.replace('/run/secrets/', '')
    expect(target).toMatch(/\.yaml$/)
    expect(pomerium?.secrets).toContainEqual({ source: 'pomerium_config', target })
    // Dex's image would have a *.yaml filled in by a program of its own, with $ as it pleases.
    expect(dex?.command).toEqual(['dex', 'serve', '/run/secrets/dex_config'])
  })

  test('is what docker compose takes', ({ skip }) => {
    const plugins = join(root, '.cache/containers')
    const env = existsSync(join(plugins, 'cli-plugins'))
      ? { ...process.env, DOCKER_CONFIG: plugins }
      : process.env
    if (spawnSync('docker', ['compose', 'version'], { env }).status !== 0) {
      process.stderr.write(
        'SKIPPED: docker compose config of compose.yaml, for there is no docker compose here\n',
      )
      skip('no docker compose')
    }
    execFileSync('deploy/compose/prepare.sh', { cwd: root })
    const said = spawnSync('docker', ['compose', '--profile', '*', 'config', '--quiet'], {
      cwd: root,
      env,
      encoding: 'utf8',
    })
    expect(said).toMatchObject({ status: 0, stderr: '' })
  })
})

test('the configuration of its sidecar is sound', () => {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-compose-'))
  // Paths as they are in the container are files of this checkout here.
  const text = read('deploy/compose/sidecar.yaml')
    .replace('/app/bundles/default.tar.gz', join(root, 'bundles/default.tar.gz'))
    .replace('/run/secrets/tls_ca', join(root, 'package.json'))
  const result = readConfig(text, [], { SESSION_KEY: 'k'.repeat(32) })
  expect(result.ok ? [] : result.faults).toEqual([])
  rmSync(folder, { recursive: true })
})

test('prepare.sh fills in every value, makes a certificate for the names, and keeps what is there', () => {
  if (spawnSync('openssl', ['version']).status !== 0) {
    process.stderr.write('SKIPPED: deploy/compose/prepare.sh, for there is no openssl here\n')
    return
  }
  const folder = mkdtempSync(join(tmpdir(), 'mcp-prepare-'))
  execFileSync('cp', ['-r', join(root, 'deploy/compose'), folder])
  const at = join(folder, 'compose')
  rmSync(join(at, 'run'), { recursive: true, force: true })
  const prepare = (env: Record<string, string> = {}) =>
    execFileSync(join(at, 'prepare.sh'), { env: { PATH: process.env.PATH, ...env }, encoding: 'utf8' })
  prepare()
  const made = (name: string) => readFileSync(join(at, 'run', name), 'utf8')
  const route = () =>
    (parse(made('pomerium.yaml')) as { routes: { mcp: { server: Record<string, unknown> } }[] }).routes[0]
  expect(made('pomerium.yaml') + made('dex.yaml')).not.toContain('@GITHUB')
  expect(route()?.mcp.server).not.toHaveProperty('upstream_oauth2')
  const key = made('server-key.pem')
  prepare({ GITHUB_CLIENT_ID: 'an-id', GITHUB_CLIENT_SECRET: 'a-secret' })
  expect(made('server-key.pem')).toBe(key)
  expect(route()?.mcp.server.upstream_oauth2).toMatchObject({ client_id: 'an-id', client_secret: 'a-secret' })
  const verify = [
    'verify',
    '-CAfile',
    'ca.pem',
    '-verify_hostname',
    'github-mcp.localhost.pomerium.io',
    'server.pem',
  ]
  expect(spawnSync('openssl', verify, { cwd: join(at, 'run') }).status).toBe(0)
  rmSync(folder, { recursive: true })
})
