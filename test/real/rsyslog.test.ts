import { spawn } from 'node:child_process'
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { findRsyslog } from '../../tools/receivers/receivers.ts'
import { EVENTS } from '../support/events.ts'

const rsyslog = await findRsyslog()
if (!rsyslog.ok) console.warn(`SKIPPED: the syslog example against a real rsyslog. ${rsyslog.why}`)
const folder = mkdtempSync(join(tmpdir(), 'mcp-rsyslog-'))
const ends: (() => unknown)[] = [() => rmSync(folder, { recursive: true, force: true })]
afterAll(() => {
  for (const end of ends.reverse()) end()
})
const example = readFileSync(new URL('../../deploy/siem/collectors/rsyslog.conf', import.meta.url), 'utf8')

const run = (name: string, text: string) => {
  writeFileSync(join(folder, name), text)
  const child = spawn(
    rsyslog.ok ? rsyslog.path : '',
    ['-n', '-f', join(folder, name), '-i', join(folder, `${name}.pid`)],
    {
      stdio: ['ignore', 'ignore', 'inherit'],
    },
  )
  ends.push(() => child.kill('SIGKILL'))
}

describe.skipIf(!rsyslog.ok)('the syslog example', () => {
  test('lines of a file output arrive as RFC 5424 messages, whole', async () => {
    const port = await new Promise<number>((resolve) => {
      const server = createServer().listen(0, '127.0.0.1', () => {
        const at = (server.address() as { port: number }).port
        server.close(() => resolve(at))
      })
    })
    const [input, output] = [join(folder, 'events.jsonl'), join(folder, 'received')]
    run(
      'receiver.conf',
      `global(workDirectory="${folder}" maxMessageSize="64k")
module(load="imtcp")
template(name="whole" type="string" string="%app-name% %msg%\\n")
input(type="imtcp" address="127.0.0.1" port="${port}")
action(type="omfile" file="${output}" template="whole")\n`,
    )
    // The example as it is, but for its places.
    run(
      'example.conf',
      example
        .replaceAll('/var/log/mcp/events.jsonl', input)
        .replaceAll('/var/spool/rsyslog', folder)
        .replaceAll('siem.example.com', '127.0.0.1')
        .replace('port="6514"', `port="${port}"`)
        .replace(/^ *streamDriver.*\n/gm, ''),
    )
    writeFileSync(input, '')
    const long = JSON.stringify({ custom: { event_id: 'long' }, text: 'x'.repeat(20_000) })
    const lines = [...EVENTS.map(([, line]) => line), long]
    appendFileSync(input, `${lines.join('\n')}\n`)
    const received = () => (existsSync(output) ? readFileSync(output, 'utf8').trimEnd().split('\n') : [])
    await expect.poll(() => received().length, { timeout: 18_000 }).toBe(lines.length)
    expect(received().map((line) => line.replace(/^mcp-opa-sidecar /, ''))).toEqual(lines)
  })
})
