import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { checkChangelog, licences, readAudit } from '../../tools/release.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

test('a version that the changelog does not begin with is a fault', () => {
  expect(checkChangelog('1.2.3', '# Changelog\n\n## 1.2.3 (2026-11-26)\n\n## 1.2.2\n')).toEqual([])
  expect(checkChangelog('1.2.2', '# Changelog\n\n## 1.2.3 (2026-11-26)\n\n## 1.2.2\n')).toHaveLength(1)
  expect(checkChangelog('1.2', '# Changelog\n\n## 1.2.3\n')).toHaveLength(1)
})

test('every package that runs in production has a licence under which it may be given on', () => {
  const { lines, faults } = licences()
  expect(lines.length).toBeGreaterThan(5)
  expect(faults).toEqual([])
})

test.each([
  [
    'an answer without findings',
    0,
    '{"metadata": {"vulnerabilities": {"total": 0}}}',
    { asked: true, faults: [] },
  ],
  [
    'findings',
    1,
    '{"metadata": {"vulnerabilities": {"high": 1, "total": 1}}}',
    { asked: true, faults: ['npm audit: {"high":1,"total":1}'] },
  ],
  ['an error', 1, '{"message": "405 Method Not Allowed"}', { asked: false, why: '405 Method Not Allowed' }],
  ['no npm', null, '', { asked: false, why: 'npm audit gave no answer' }],
  ['success without an answer', 0, '{}', { asked: false, why: 'npm audit gave no answer' }],
])('npm audit: %s', (_name, status, stdout, expected) => {
  expect(readAudit(status, stdout)).toEqual(expected)
})

test('npm run release:check writes the package, an SBOM and sums that are right', {
  timeout: 120_000,
}, async () => {
  // Where the registry answers no audit, the release goes on only because it is told to, and says so.
  const env = { ...process.env, MCP_RELEASE_UNAUDITED: '1' }
  const { stdout } = await promisify(execFile)(process.execPath, ['tools/release.ts'], { cwd: root, env })
  if (stdout.includes('NOT ASKED'))
    process.stderr.write('NOT ASKED: the registry here answers no npm audit\n')
  const sums = readFileSync(`${root}/.cache/release/SHA256SUMS`, 'utf8')
  expect(sums).toMatch(/LICENCES\.txt\n.*mcp-opa-sidecar-[\d.]+\.tgz\n.*sbom\.cdx\.json\n/)
  await promisify(execFile)('sha256sum', ['--check', 'SHA256SUMS'], { cwd: `${root}/.cache/release` })
  const sbom = JSON.parse(readFileSync(`${root}/.cache/release/sbom.cdx.json`, 'utf8')) as {
    components: { name: string }[]
  }
  const names = sbom.components.map(({ name }) => name)
  expect(names).toContain('undici')
  expect(names).not.toContain('vitest')
})
