import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { pseudonym } from '../../src/log/pseudonym.ts'
import { createIssuer, people } from '../support/assertions.ts'
import { postBytes, sendRaw } from '../support/raw.ts'
import { startRecorder } from '../support/recorder.ts'
import { sidecarConfig, startSidecar } from '../support/sidecar.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const key = 'a key for pseudonyms'

test('with identities: pseudonymous no record names a person, and each is the same pseudonym everywhere', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-pseudonym-'))
  const issuer = createIssuer()
  const upstream = await startRecorder()
  const options = {
    upstream: upstream.url,
    jwks: issuer.jwks,
    config: {
      plugins: {
        mcp_audit: {
          buffer: { path: join(folder, 'spool') },
          identities: 'pseudonymous',
          identity_key: key,
        },
      },
    },
  }
  const sidecar = await startSidecar(options)
  try {
    const call = (name: string) => ({
      jsonrpc: '2.0',
      id: 1,
      method: 'tools/call',
      params: { name, arguments: {} },
    })
    const send = (body: object) =>
      sendRaw(sidecar.port, postBytes(issuer.mint({ ...people.mona, department: 'CANARY' }), body))
    await send(call('get_me'))
    await send(call('delete_repository'))
    // Refused when it is known who asks.
    await send({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1 } })
    await send({ jsonrpc: '2.0', id: 3, method: 'ping' })
    await sidecar.stop()
    const text = sidecar.spool()
    for (const name of [people.mona.email, people.mona.sub, people.mona.name, 'CANARY'])
      expect(text.includes(String(name)), String(name)).toBe(false)
    const subject = pseudonym(Buffer.from(key), people.mona.sub)
    const decisions = sidecar.records().filter(({ custom }) => custom.event === 'decision')
    expect(decisions).toHaveLength(2)
    for (const { input, masked } of decisions) {
      expect(input.identity).toMatchObject({ subject, claims: {}, groups: people.mona.groups })
      expect(masked).toContain('/input/identity/subject')
    }
    const others = sidecar
      .records()
      .filter(({ custom }) => custom.event === 'reject' || custom.event === 'repeat')
    expect(others.map(({ custom }) => custom.subject)).toEqual([subject, subject])
    // Who has the configuration finds a person by name.
    const file = join(folder, 'config.json')
    writeFileSync(file, JSON.stringify(sidecarConfig(options, 'unused')))
    const found = execFileSync(
      process.execPath,
      ['src/main.ts', 'tail', '-c', file, '--user', people.mona.email, '--disposition', 'denied', '--json'],
      { cwd: root, encoding: 'utf8' },
    )
    expect(found.trim().split('\n')).toHaveLength(1)
  } finally {
    await sidecar.stop()
    await upstream.close()
    rmSync(folder, { recursive: true })
  }
})
