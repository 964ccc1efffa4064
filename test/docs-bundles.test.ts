import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { readConfig } from '../src/config.ts'
import { readPolicy } from '../src/edge/judge/bundle.ts'
import { opaPath } from '../tools/opa.ts'
import { dataBundle } from './support/bundles.ts'
import { noOpa } from './support/policy.ts'
import { goProgram } from './support/programs.ts'
import { registryProgram, startRegistry } from './support/registry.ts'
import { takeBundles } from './support/taken.ts'

const root = join(import.meta.dirname, '..')
const folder = mkdtempSync(join(tmpdir(), 'mcp-docs-'))
afterAll(() => rmSync(folder, { recursive: true }))

const openssl = (() => {
  try {
    execFileSync('openssl', ['version'])
    return true
  } catch {
    console.warn('SKIPPED: docs/bundles.md makes its key with openssl, and there is none.')
    return false
  }
})()

test.skipIf(noOpa || !openssl)(
  'every file and command of docs/bundles.md does what it says',
  async () => {
    const bin = join(folder, 'bin')
    mkdirSync(bin)
    symlinkSync(await opaPath(), join(bin, 'opa'))
    writeFileSync(
      join(bin, 'mcp-opa-sidecar'),
      `#!/bin/sh\nexec "${process.execPath}" "${join(root, 'src/main.ts')}" "$@"\n`,
      {
        mode: 0o755,
      },
    )
    const env = { PATH: [bin, process.env.PATH].join(delimiter), HOME: folder }
    const run = (script: string) =>
      execFileSync('bash', ['-euo', 'pipefail', '-c', script], {
        cwd: folder,
        env,
        encoding: 'utf8',
        stdio: 'pipe',
      })
    const load = async () => {
      const keys = {
        default: {
          algorithm: 'ES256' as const,
          pem: readFileSync(join(folder, 'bundle-key.pub.pem'), 'utf8'),
          scope: '',
        },
      }
      const signing = { keys, keyid: undefined, scope: undefined, exclude: [] }
      const sources = ['mcp', 'grants'].map((name) => ({
        name,
        content: { bytes: readFileSync(join(folder, `out/${name}.tar.gz`)) },
        signing,
      }))
      return readPolicy(sources, 'mcp/main/decision')
    }
    writeFileSync(join(folder, 'bundle-token'), 't')
    const seen: unknown[] = []
    const blocks = readFileSync(join(root, 'docs/bundles.md'), 'utf8').matchAll(
      /^```(\w+)(?: file=(\S+))?\n(.*?)^```$/gms,
    )
    for (const [, language, file, text = ''] of blocks) {
      if (file !== undefined) {
        mkdirSync(dirname(join(folder, file)), { recursive: true })
        writeFileSync(join(folder, file), text)
      } else if (language === 'sh') {
        const said = run(text)
        if (text.includes(' check ')) expect(said).toContain('sound')
        if (!text.includes('out/grants.tar.gz')) continue
        const policy = await load()
        const { config } = JSON.parse(policy.data)
        seen.push({
          revision: policy.revisions.grants?.revision,
          sequence: policy.sequences.grants,
          grants: config.grants.length,
        })
      }
    }
    expect(seen).toEqual([
      { revision: 'grants-1', sequence: 1, grants: 1 },
      { revision: 'grants-1-again', sequence: 2, grants: 1 },
      { revision: 'stopped', sequence: 3, grants: 0 },
    ])
  },
  120_000,
)

const oras = registryProgram && (await goProgram('oras', 'oras.land/oras/cmd/oras@v1.3.6'))

test.skipIf(!oras)(
  'what docs/bundles.md says of registries does what it says',
  async () => {
    const registry = await startRegistry()
    const inside = join(folder, 'oci')
    mkdirSync(join(inside, 'out'), { recursive: true })
    const grants = await dataBundle(['config/grants'], { config: { grants: [] } }, { revision: 'pushed' })
    writeFileSync(join(inside, 'out/grants.tar.gz'), grants)
    const text = readFileSync(join(root, 'docs/bundles.md'), 'utf8')
    const block = (language: string) =>
      new RegExp(`^\`\`\`${language} oci\\n(.*?)^\`\`\`$`, 'ms').exec(text)?.[1] ?? ''
    const plain = block('sh').replace('registry.example.com', `--plain-http ${registry.host}`)
    execFileSync('bash', ['-euo', 'pipefail', '-c', plain], {
      cwd: inside,
      env: { PATH: [dirname(oras ?? ''), process.env.PATH].join(delimiter), HOME: inside },
      stdio: 'pipe',
    })
    const mcp = `plugins: {mcp: {server: s, upstream: {url: "http://127.0.0.1:1/mcp"}, identity: {development: {subject: a, email: a@b.example}}}, mcp_audit: {buffer: {path: ${JSON.stringify(join(inside, 'spool'))}}}}`
    const here = block('yaml')
      .replaceAll('https://registry.example.com', registry.url)
      .replaceAll('registry.example.com', registry.host)
    const read = readConfig(`${here}\n${mcp}`, ['bundles.mcp.resource=bundles/default.tar.gz'], {
      REGISTRY_USER: 'mona',
      REGISTRY_PASSWORD: 'secret',
    })
    if (!read.ok) throw new Error(read.faults.join('\n'))
    const taken = takeBundles(read.config.bundles, { persistence: join(inside, 'store') })
    await taken.bundles.start()
    // The default bundle owns the grants, too, so that the two do not go together: that it came is what is asked here.
    await taken.until(() => taken.changes.length + taken.failures.length > 0)
    expect(taken.bundles.statuses.all().grants).toMatchObject({ size: grants.length })
    await taken.bundles.close()
    await registry.close()
  },
  120_000,
)
