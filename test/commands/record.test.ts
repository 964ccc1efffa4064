// tail, explain, replay and verify on the record of the real program, while it runs and after it was killed; and every
// command of docs/records.md.
import { execFile, spawn } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { listSegments } from '../../src/edge/audit/segments.ts'
import { createIssuer, people } from '../support/assertions.ts'
import { logText } from '../support/log.ts'
import { buildBundle, mainPolicy, noOpa } from '../support/policy.ts'
import { postBytes, sendRaw } from '../support/raw.ts'
import { type Recorder, startRecorder } from '../support/recorder.ts'
import { DEFAULT_BUNDLE, type Sidecar, startSidecar } from '../support/sidecar.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'mcp-record-'))
const spool = join(folder, 'spool')
const { privateKey, publicKey } = generateKeyPairSync('ed25519')
const [keyFile, publicFile] = [join(folder, 'key.pem'), join(folder, 'public.pem')]
writeFileSync(keyFile, privateKey.export({ type: 'pkcs8', format: 'pem' }))
writeFileSync(publicFile, publicKey.export({ type: 'spki', format: 'pem' }))
const issuer = createIssuer()
let upstream: Recorder
let sidecar: Sidecar
const ids: Record<'allowed' | 'denied' | 'rejected', string> = { allowed: '', denied: '', rejected: '' }

const cli = (...args: string[]) =>
  new Promise<{ code: number; out: string; err: string }>((resolve) => {
    execFile(process.execPath, ['src/main.ts', ...args], { cwd: root }, (error, out, err) =>
      resolve({ code: error ? Number(error.code) : 0, out, err }),
    )
  })
const call = async (name: string, who: object, args: object = {}) => {
  const body = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name, arguments: args } }
  const answer = (await sendRaw(sidecar.port, postBytes(issuer.mint({ ...who }), body))).answers[0]
  return String(answer?.body)
}
const start = () =>
  startSidecar({
    upstream: upstream.url,
    jwks: issuer.jwks,
    config: {
      plugins: { mcp_audit: { buffer: { path: spool }, checkpoint: { key_file: keyFile, interval: '1s' } } },
    },
  })

beforeAll(async () => {
  upstream = await startRecorder()
  sidecar = await start()
  await call('get_me', people.alice, { n: 1 })
  const denied = await call('delete_repository', people.mona, { owner: 'acme', note: '\u001b[31mred\u202e' })
  ids.denied = /Decision ([0-9a-f-]{36})/.exec(denied)?.[1] ?? ''
  const body = String((await sendRaw(sidecar.port, postBytes(undefined, {}))).answers[0]?.body)
  ids.rejected = JSON.parse(body).error.data.decision_id
  await call('get_me', people.alice, { password: 'hidden' })
  ids.allowed = sidecar.records().find(({ custom }) => custom.event === 'decision')?.decision_id ?? ''
  const last = sidecar.records().findLast(({ input }) => input?.tool?.name === 'get_me')
  await sidecar.recordsOf(String(last?.decision_id), 2)
}, 60_000)
afterAll(async () => {
  await sidecar.stop('SIGKILL')
  await upstream.close()
  rmSync(folder, { recursive: true, force: true })
})

test('tail shows the last records in words, filters them, and gives them as they are', async () => {
  const all = await cli('tail', spool, '-n', '0')
  expect(all).toMatchObject({ code: 0, err: '' })
  expect(all.out.trimEnd().split('\n')).toHaveLength(sidecar.records().length)
  expect(all.out).toMatch(/allowed {2}\S*alice\S* {2}tools\/call get_me {2}/)
  expect(all.out).toMatch(/outcome {2}allowed {2}tools\/call {2}answered in full, status 200/)
  const denied = await cli(
    'tail',
    spool,
    '--user',
    people.mona.email.toUpperCase(),
    '--disposition',
    'denied',
  )
  expect(denied.out.trim().split('\n')).toHaveLength(1)
  expect(denied.out).toContain(ids.denied)
  // An outcome names neither who nor what, and is shown where its decision is.
  const tool = await cli('tail', spool, '--tool', 'get_me', '--json')
  const events = tool.out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(events.map(({ custom }) => custom.event).sort()).toEqual([
    'decision',
    'decision',
    'outcome',
    'outcome',
  ])
  expect(logText(spool)).toContain(tool.out.split('\n')[0])
  expect((await cli('tail', spool, '-n', '1')).out.trim().split('\n')).toHaveLength(1)
})

test('tail --follow shows what comes, and ends well when it is stopped', async () => {
  const child = spawn(process.execPath, ['src/main.ts', 'tail', spool, '-f', '-n', '1'], { cwd: root })
  let out = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text
  })
  await expect.poll(() => out, { timeout: 10_000 }).toContain('\n')
  await call('get_me', people.alice, { n: 2 })
  await expect
    .poll(() => out.match(/tools\/call get_me/g)?.length ?? 0, { timeout: 10_000 })
    .toBeGreaterThan(0)
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  expect(await ended).toBe(0)
})

test('explain says who, what, why, and what came of it', async () => {
  const denied = await cli('explain', ids.denied, spool)
  expect(denied).toMatchObject({ code: 0, err: '' })
  expect(denied.out).toContain(people.mona.email)
  expect(denied.out).toMatch(/What: +tools\/call delete_repository on github/)
  expect(denied.out).toMatch(/Decided: +denied\n +Why: .*\[[a-z_]+\]/)
  expect(denied.out).toContain('it was not sent to the server')
  // What the caller chose does not command the terminal.
  expect(denied.out).not.toMatch(/[\u001b\u202e]/)
  const allowed = await cli('explain', ids.allowed, spool)
  expect(allowed.out).toMatch(/Came of it: .*answered in full, status 200/)
  const rejected = await cli('explain', ids.rejected, spool)
  expect(rejected.out).toContain('[not_a_message]')
  const none = await cli('explain', '019a0000-0000-7000-8000-000000000000', spool)
  expect(none).toMatchObject({ code: 1, out: '' })
  expect(none.err).toContain('no record of it')
})

test('wrong use says what to do', async () => {
  expect(await cli('tail')).toMatchObject({ code: 64, err: expect.stringContaining('Name its folder') })
  expect(await cli('tail', folder)).toMatchObject({
    code: 64,
    err: expect.stringContaining('there is no record'),
  })
  expect(await cli('tail', spool, '--disposition', 'no')).toMatchObject({ code: 64 })
  expect(await cli('explain')).toMatchObject({ code: 64 })
  expect(await cli('replay', spool)).toMatchObject({ code: 64, err: expect.stringContaining('--bundle') })
  expect(await cli('verify', spool, '--key', 'nothing')).toMatchObject({ code: 64 })
})

test('replay of the same policy changes nothing; what was masked is not guessed', async () => {
  const same = await cli('replay', spool, '--bundle', DEFAULT_BUNDLE, '--json')
  expect(same.code).toBe(0)
  expect(JSON.parse(same.out)).toMatchObject({ flipped: 0, not_replayable: 1, flips: [] })
  expect(JSON.parse(same.out).replayed).toBeGreaterThanOrEqual(2)
  const none = await cli('replay', spool, '--bundle', DEFAULT_BUNDLE, '--since', '0ms')
  expect(none).toMatchObject({ code: 1, out: expect.stringContaining('nothing is known') })
})

test.skipIf(noOpa)(
  'replay of another policy names what would be others, and ends by the budget',
  async () => {
    const built = await buildBundle({
      'main.rego': mainPolicy('answer := {"allow": input.tool.name == "delete_repository"}'),
    })
    try {
      const over = await cli('replay', spool, '--bundle', built.path)
      expect(over.code).toBe(1)
      expect(over.out).toMatch(/by tool:\n(.*\n)* +get_me +\d would be denied, 0 would be allowed/)
      expect(over.out).toContain(people.mona.email)
      expect((await cli('replay', spool, '--bundle', built.path, '--budget', '50')).code).toBe(0)
    } finally {
      await built.dispose()
    }
  },
)

test('after SIGKILL the commands go on, and the record verifies', async () => {
  await sidecar.stop('SIGKILL')
  expect((await cli('explain', ids.denied, spool)).code).toBe(0)
  expect(await cli('verify', spool, '--key', publicFile)).toMatchObject({ code: 0 })
})

test('after the next start it goes on, and verifies as one', async () => {
  sidecar = await start()
  await call('get_me', people.alice)
  const result = await cli('verify', spool, '--key', publicFile)
  expect(result).toMatchObject({ code: 0, err: '' })
  expect(result.out).toMatch(/\d+ signed checkpoints agree/)
})

test('each command of docs/records.md works', async () => {
  const docs = readFileSync(join(root, 'docs/records.md'), 'utf8')
  const commands = [...docs.matchAll(/```sh\n([\s\S]*?)```/g)].flatMap(([, block]) =>
    (block as string).trim().split('\n'),
  )
  expect(commands.length).toBeGreaterThan(7)
  const place = mkdtempSync(join(folder, 'docs-'))
  copyFileSync(join(spool, 'checkpoint'), join(place, 'checkpoint'))
  for (const line of commands) {
    const command = line
      .replaceAll('/var/lib/mcp-opa-sidecar', spool)
      .replaceAll('DECISION_ID', ids.allowed)
      .replaceAll('bundles/default.tar.gz', DEFAULT_BUNDLE)
      // Its key is made by the commands above it; the log was signed with ours.
      .replaceAll('--key checkpoint-public.pem', `--key ${publicFile}`)
      .replace(/^node bench/, `${process.execPath} ${join(root, 'bench')}`)
      .replace(/^mcp-opa-sidecar/, `${process.execPath} ${join(root, 'src/main.ts')}`)
    const result = await new Promise<{ error: unknown; err: string }>((resolve) =>
      execFile('sh', ['-c', command], { cwd: place }, (error, _out, err) => resolve({ error, err })),
    )
    expect(result.error, `${line}\n${result.err}`).toBe(null)
  }
}, 60_000)

test('verify says which record was altered, and ends with 1', async () => {
  await sidecar.stop()
  const path = listSegments(spool)[0]?.path as string
  writeFileSync(path, readFileSync(path, 'utf8').replace('delete_repository', 'create_repository'))
  const result = await cli('verify', spool, '--key', publicFile)
  expect(result.code).toBe(1)
  expect(result.out).toMatch(/^NOT what was written: record \d+: .*altered/)
})
