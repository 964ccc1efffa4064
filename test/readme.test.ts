import { execFile } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { readConfig } from '../src/config.ts'
import { REFUSALS } from '../src/pep/refusal.ts'

const run = promisify(execFile)
const root = fileURLToPath(new URL('..', import.meta.url))
const read = (name: string) => readFileSync(join(root, name), 'utf8')
const readme = read('README.md')
const blocks = (language: string) =>
  [...readme.matchAll(new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``, 'g'))].map(
    (match) => match[1] ?? '',
  )
const manifest = JSON.parse(read('package.json')) as {
  scripts: Record<string, string>
  dependencies: Record<string, string>
}

test('its configuration is sound, as its own command says', async () => {
  const config = blocks('yaml').find((block) => block.includes('plugins:'))
  const folder = mkdtempSync(join(tmpdir(), 'mcp-readme-'))
  writeFileSync(join(folder, 'sidecar.yaml'), config ?? '')
  const args = ['src/main.ts', 'check', '--config-file', join(folder, 'sidecar.yaml')]
  const env = { PATH: process.env.PATH, GITHUB_TOKEN: 't', SESSION_KEY: 'a key of sixteen and more' }
  expect((await run(process.execPath, args, { cwd: root, env })).stdout).toMatch(
    /^bundle mcp: revision sha256:\w+, policy, .*\nmcp: entrypoints .*\nthe configuration is sound\n$/,
  )
  rmSync(folder, { recursive: true })
})

test('every command in it is one that there is; demo, start and test run in tests of their own', () => {
  const commands = blocks('sh').flatMap((block) =>
    block
      .trim()
      .split(/\n|&&|\|/)
      .map((line) => line.trim()),
  )
  for (const command of commands) {
    const [program = '', ...words] = command.split(' ').filter((word) => !/^[A-Z_]+=/.test(word))
    if (program === 'npm' && words[0] === 'ci') continue
    if (program === 'npm')
      expect(manifest.scripts, command).toHaveProperty((words[0] === 'run' ? words[1] : words[0]) ?? '')
    // What the others do is run elsewhere: test/docs-commands.test.ts says where.
    else
      expect(['node', 'sed', 'docker', 'claude', 'export', 'deploy/compose/prepare.sh'], command).toContain(
        program,
      )
  }
  expect(commands.length).toBeGreaterThan(5)
})

test('the grants it shows are those of the default bundle', () => {
  const data = read('bundles/default/config/data.yaml')
  for (const line of (blocks('yaml')[0] ?? '').split('\n').slice(1)) {
    const [said = ''] = line.split(/\s+#/)
    expect(data, line).toContain(said.trim().replace(/^- /, ''))
  }
})

test('it names every dependency, and their number', () => {
  const names = Object.keys(manifest.dependencies)
  expect(readme).toContain(`### Dependencies: ${names.length}`)
  for (const name of names) expect(readme).toContain(`| \`${name}\` |`)
})

test('every setting that the configuration reads is in docs/configuration.md', () => {
  const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file === 'config.ts' || file.startsWith(`edge${sep}`))
    .filter((file) => file.endsWith('.ts') && !file.endsWith(`edge${sep}settings.ts`))
  const keys = sources.flatMap((file) =>
    [
      ...read(join('src', file)).matchAll(
        /\b\w+\.(?:string|optional|boolean|integer|duration|oneOf|strings|map|list|named)\(\s*'([a-z_]+)'/g,
      ),
    ].map((match) => match[1] ?? ''),
  )
  expect(keys.length).toBeGreaterThan(20)
  const reference = read('docs/configuration.md')
  expect(keys.filter((key) => !new RegExp(`\\b${key}\\b`).test(reference))).toEqual([])
})

test('the bounds it names are those that are in force', () => {
  const config = {
    bundles: { mcp: { resource: join(root, 'bundles/default.tar.gz') } },
    plugins: {
      mcp: {
        server: 's',
        upstream: { url: 'http://127.0.0.1:1/mcp' },
        identity: { development: { subject: 'me' } },
      },
      mcp_audit: { buffer: { path: '/tmp/none' } },
    },
  }
  const result = readConfig(JSON.stringify(config), [], {})
  if (!result.ok) throw new Error(result.faults.join('\n'))
  const { mcp, audit } = result.config
  const { bounds } = mcp
  const mib = (bytes: number) => `${bytes / 2 ** 20} MiB`
  const rows = [
    `| a request's body | ${mib(mcp.bodyLimit)} |`,
    `| a message of the server | ${mib(mcp.messageLimit)} |`,
    `| ${[bounds.connections, bounds.inFlight, bounds.streams, bounds.perSecond].join(', ')} |`,
    `| ${mib(bounds.inFlightBytes)}, ${bounds.memoryPercent} % |`,
    `| ${[bounds.identityInFlight, bounds.identityStreams, bounds.identityPerSecond].join(', ')} |`,
    `| one decision | ${mcp.deadline} ms |`,
    `| ${audit.buffer.maxBytes / 2 ** 30} GiB |`,
  ]
  for (const row of rows) expect(readme).toContain(row)
})

describe('the files that it points to', () => {
  test.each(
    [...readme.matchAll(/\]\(((?!http)[^)]+)\)|`(src\/[^`]+\.ts)`/g)].map(
      (match) => match[1] ?? match[2] ?? '',
    ),
  )('%s is there', (path) => {
    expect(read(path).length).toBeGreaterThan(0)
  })
})

test('no refusal echoes or promises: each has a status and a text of its own', () => {
  const texts = Object.values(REFUSALS).map((refusal) => refusal.text)
  expect(new Set(texts).size).toBe(texts.length)
})
