// Builds the images and runs what needs a container engine: npm run test:containers
// Without an engine it says so and stops, with exit code 1 where MCP_REQUIRE_ENGINE=1 says that there must be one.
// tools/containers/engine.sh installs and starts Debian's.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { makeBases } from './bases.ts'

const CHECKOUT = fileURLToPath(new URL('../..', import.meta.url))
export const IMAGE = 'mcp-opa-sidecar:test'
export const DEMO_IMAGE = 'mcp-opa-sidecar-demo:test'
/** Where engine.sh puts Compose, if the machine has none. */
const PLUGINS = join(CHECKOUT, '.cache/containers')

const run = (command: string, args: string[], env: NodeJS.ProcessEnv = process.env) =>
  spawnSync(command, args, { cwd: CHECKOUT, stdio: 'inherit', env }).status === 0
const answers = (args: string[], env: NodeJS.ProcessEnv = process.env) =>
  spawnSync('docker', args, { stdio: 'ignore', timeout: 20_000, env }).status === 0

process.exitCode = main()

function main(): number {
  if (!answers(['info'])) {
    const required = process.env.MCP_REQUIRE_ENGINE === '1'
    process.stderr.write(
      `${required ? 'FAILED' : 'SKIPPED'}: the tests of the containers, for no container engine answers (docker info).\n` +
        'tools/containers/engine.sh installs and starts one on Debian.\n',
    )
    return required ? 1 : 0
  }
  const env = { ...process.env }
  if (existsSync(join(PLUGINS, 'cli-plugins')) && !answers(['compose', 'version'])) {
    mkdirSync(PLUGINS, { recursive: true })
    env.DOCKER_CONFIG = PLUGINS
  }
  const args = process.env.MCP_PUBLIC_BASES === '1' ? [] : baseArgs()
  const built =
    run('docker', ['build', '--quiet', ...args, '--tag', IMAGE, '.']) &&
    run('docker', ['build', '--quiet', ...args, '-f', 'tools/demo/Dockerfile', '--tag', DEMO_IMAGE, '.'])
  if (!built) return 1
  // Testcontainers takes a machine that has /.dockerenv for a container, and would look for ports elsewhere.
  Object.assign(env, { TESTCONTAINERS_RYUK_DISABLED: 'true', TESTCONTAINERS_HOST_OVERRIDE: 'localhost' })
  const vitest = join(CHECKOUT, 'node_modules/.bin/vitest')
  return run(vitest, ['run', '--config', 'vitest.containers.config.ts', ...process.argv.slice(2)], env)
    ? 0
    : 1
}

function baseArgs(): string[] {
  const { build, runtime } = makeBases()
  return ['--build-arg', `BUILD_IMAGE=${build}`, '--build-arg', `RUNTIME_IMAGE=${runtime}`]
}
