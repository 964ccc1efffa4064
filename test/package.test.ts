import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createIssuer } from './support/assertions.ts'
import { logText } from './support/log.ts'
import { startRecorder } from './support/recorder.ts'
import { sidecarConfig } from './support/sidecar.ts'

const run = promisify(execFile)
const root = fileURLToPath(new URL('..', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'mcp-package-'))
const installed = join(folder, 'node_modules/mcp-opa-sidecar')
/** As on a machine of a user: nothing of the checkout is on PATH, nor what it was compiled to. */
const PATH = (process.env.PATH ?? '')
  .split(delimiter)
  .filter((entry) => !entry.startsWith(root))
  .join(delimiter)
const env = { ...process.env, PATH, NODE_COMPILE_CACHE: undefined }

/** Sources, tests and tools are not given on: the pages that name them speak of the repository. */
const CHECKOUT_ONLY = /^(?:src|test|tools|bench)\//
/** By deploy/compose/prepare.sh. */
const MADE = new Set(['deploy/compose/run', 'deploy/compose/run/ca.pem'])
/** The files that a page links to or names, from the root of the package. */
function namesIn(page: string): string[] {
  const text = readFileSync(join(installed, page), 'utf8').replace(/^```yaml[\s\S]*?^```$/gm, '')
  const links = [...text.matchAll(/\]\(((?!https?:)[^)#]+)/g)].map(([, path = '']) =>
    join(dirname(page), path),
  )
  const named = [
    ...text.matchAll(
      /(?<![\w./-])(?!tools\/(?:call|list))((?:deploy|bundles|rego|docs|src|test|tools|bench)\/[\w./-]+|compose\.yaml)/g,
    ),
  ].map(([, path = '']) => path.replace(/\.$/, ''))
  return [...links, ...named]
}

let noRegistry = ''
let child: ChildProcess | undefined

beforeAll(async () => {
  // The scripts of the checkout run with the checkout's Node.
  const own = { ...process.env, PATH: `${join(root, 'node_modules/.bin')}${delimiter}${PATH}` }
  await run('npm', ['pack', '--ignore-scripts=false', '--pack-destination', folder], { cwd: root, env: own })
  writeFileSync(join(folder, 'package.json'), '{"private": true}')
  const [packed] = (await run('ls', [folder])).stdout.split('\n').filter((name) => name.endsWith('.tgz'))
  try {
    await run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', `./${packed}`], {
      cwd: folder,
      env,
    })
  } catch (error) {
    const { stderr } = error as { stderr: string }
    if (!/ENOTFOUND|EAI_AGAIN|ETIMEDOUT|ECONNREFUSED|ENETUNREACH/.test(stderr)) throw error
    noRegistry = stderr
    process.stderr.write(
      'SKIPPED test/package.test.ts: no registry can be reached to install the dependencies from\n',
    )
  }
}, 180_000)
afterAll(() => {
  child?.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
})

describe('the package, installed in an empty folder', () => {
  test('has plain JavaScript, the policy library and the bundle', ({ skip }) => {
    skip(noRegistry !== '', 'no registry')
    for (const path of [
      'dist/main.js',
      'bundles/default.tar.gz',
      'bundles/capabilities.json',
      'rego/mcp/main/main.rego',
    ])
      expect(existsSync(join(installed, path)), path).toBe(true)
    expect(existsSync(join(installed, 'src'))).toBe(false)
    expect(readFileSync(join(installed, 'dist/main.js'), 'utf8')).not.toContain(".ts'")
  })

  test('has every file that its pages name, and no secret of this checkout', ({ skip }) => {
    skip(noRegistry !== '', 'no registry')
    const pages = ['README.md', ...readdirSync(join(installed, 'docs')).map((name) => `docs/${name}`)]
    const missing = pages.flatMap((page) =>
      namesIn(page).filter((path) => !existsSync(join(installed, path))),
    )
    expect(missing.filter((path) => !CHECKOUT_ONLY.test(path) && !MADE.has(path))).toEqual([])
    // What is of the checkout alone is there, and what is made is not here.
    for (const path of missing.filter((one) => CHECKOUT_ONLY.test(one)))
      expect(existsSync(join(root, path)), path).toBe(true)
    expect(missing.length).toBeLessThan(40)
    expect(existsSync(join(installed, 'deploy/compose/run'))).toBe(false)
  })

  test('runs by npx, with its own Node where the one of the machine is older', async ({ skip }) => {
    skip(noRegistry !== '', 'no registry')
    const { stdout } = await run('npx', ['--no-install', 'mcp-opa-sidecar', '--help'], { cwd: folder, env })
    expect(stdout).toContain('Exit codes:')
    const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }
    const version = await run('npx', ['--no-install', 'mcp-opa-sidecar', '--version'], { cwd: folder, env })
    expect(version.stdout).toBe(`${manifest.version}\n`)
  }, 60_000)

  test('decides, records and stops', async ({ skip }) => {
    skip(noRegistry !== '', 'no registry')
    const recorder = await startRecorder()
    const issuer = createIssuer()
    const spool = join(folder, 'spool')
    const config = sidecarConfig(
      {
        upstream: recorder.url,
        jwks: issuer.jwks,
        config: { bundles: { mcp: { resource: join(installed, 'bundles/default.tar.gz') } } },
      },
      spool,
    )
    writeFileSync(join(folder, 'sidecar.yaml'), JSON.stringify(config))
    const bin = join(folder, 'node_modules/.bin')
    const started = spawn(join(bin, 'mcp-opa-sidecar'), ['run', '-c', 'sidecar.yaml'], {
      cwd: folder,
      env: { ...env, PATH: `${bin}${delimiter}${PATH}` },
      stdio: ['ignore', 'inherit', 'pipe'],
    })
    child = started
    const addr = await new Promise<string>((resolve, reject) => {
      let said = ''
      createInterface({ input: started.stderr }).on('line', (line) => {
        said += `${line}\n`
        if (line.includes('"listening"')) resolve(JSON.parse(line).addr)
      })
      started.once('exit', () => reject(new Error(said)))
    })
    const call = async (name: string, args: object) => {
      const answer = await fetch(`http://${addr}/mcp`, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          accept: 'application/json, text/event-stream',
          'mcp-protocol-version': '2026-07-28',
          'mcp-method': 'tools/call',
          'mcp-name': name,
          'x-pomerium-jwt-assertion': issuer.mint(),
        },
        body: JSON.stringify({
          jsonrpc: '2.0',
          id: 1,
          method: 'tools/call',
          params: {
            name,
            arguments: args,
            _meta: {
              'io.modelcontextprotocol/protocolVersion': '2026-07-28',
              'io.modelcontextprotocol/clientCapabilities': {},
            },
          },
        }),
      })
      return answer.text()
    }
    const app = { owner: 'acme', repo: 'app' }
    expect(await call('merge_pull_request', { ...app, pullNumber: 7 })).toContain('merge_not_granted')
    expect(recorder.requests()).toEqual([])
    expect(await call('issue_read', { ...app, method: 'get', issue_number: 1 })).not.toContain(
      'Denied by policy',
    )
    expect(recorder.requests()).toHaveLength(1)
    started.kill('SIGTERM')
    expect((await once(started, 'exit'))[0]).toBe(0)
    expect(logText(spool)).toContain('"merge_not_granted"')
    await recorder.close()
  }, 60_000)
})
