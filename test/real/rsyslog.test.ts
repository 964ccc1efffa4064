import { execFileSync, spawn } from 'node:child_process'
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { findKafka, findRsyslog, findRsyslogModules } from '../../tools/receivers/receivers.ts'
import { EVENTS } from '../support/events.ts'
import { freePort, listens } from '../support/free-port.ts'

const rsyslog = await findRsyslog()
if (!rsyslog.ok) console.warn(`SKIPPED: the syslog example against a real rsyslog. ${rsyslog.why}`)
const modules = await findRsyslogModules()
if (!modules.ok) console.warn(`SKIPPED: the examples of rsyslog with TLS and to Kafka. ${modules.why}`)
const kafka = await findKafka()
const noKafka = !modules.ok
  ? modules.why
  : !kafka.ok
    ? kafka.why
    : process.env.SINKS_REAL
      ? undefined
      : 'it takes a minute: npm run sinks:real'
if (noKafka !== undefined) console.warn(`SKIPPED: the example of rsyslog to a real Kafka. ${noKafka}`)

const folder = mkdtempSync(join(tmpdir(), 'mcp-rsyslog-'))
const ends: (() => unknown)[] = []
afterEach(() => {
  for (const end of ends.splice(0).reverse()) end()
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const example = (name: string) =>
  readFileSync(new URL(`../../deploy/siem/collectors/${name}`, import.meta.url), 'utf8')

const run = (name: string, text: string) => {
  writeFileSync(join(folder, name), text)
  const more = modules.ok
    ? ['-M', `/usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu/rsyslog:${modules.path}`]
    : []
  const child = spawn(
    rsyslog.ok ? rsyslog.path : '',
    ['-n', '-f', join(folder, name), '-i', join(folder, `${name}.pid`), ...more],
    {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...process.env, LD_LIBRARY_PATH: modules.libraries ?? '' },
    },
  )
  ends.push(() => child.kill('SIGKILL'))
}
const long = JSON.stringify({ custom: { event_id: 'long' }, text: 'x'.repeat(20_000) })
const lines = [...EVENTS.map(([, line]) => line), long]
/** An example as it is, but for its places. */
const placed = (text: string, name: string) => {
  const work = join(folder, name)
  mkdirSync(work)
  writeFileSync(join(work, 'events.jsonl'), '')
  return {
    text: text
      .replaceAll('/var/log/mcp', work)
      .replaceAll('/var/spool/rsyslog', work)
      .replaceAll(/\/etc\/ssl\/certs\/[a-z]+-ca\.pem/g, join(folder, 'ca.pem')),
    write: () => appendFileSync(join(work, 'events.jsonl'), `${lines.join('\n')}\n`),
  }
}
const linesOf = (path: string) => (existsSync(path) ? readFileSync(path, 'utf8').trimEnd().split('\n') : [])

const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' })
beforeAll(() => {
  openssl(
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-keyout',
    'ca.key',
    '-out',
    'ca.pem',
    '-days',
    '2',
    '-subj',
    '/CN=ca',
  )
  for (const name of ['siem.example.com', 'other.example.com', 'localhost']) {
    openssl(
      'req',
      '-newkey',
      'rsa:2048',
      '-nodes',
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.csr`,
      '-subj',
      `/CN=${name}`,
    )
    writeFileSync(join(folder, 'san'), `subjectAltName=DNS:${name}`)
    openssl(
      'x509',
      '-req',
      '-in',
      `${name}.csr`,
      '-CA',
      'ca.pem',
      '-CAkey',
      'ca.key',
      '-CAcreateserial',
      '-days',
      '2',
      '-extfile',
      'san',
      '-out',
      `${name}.pem`,
    )
  }
})

describe.skipIf(!rsyslog.ok)('the syslog example', () => {
  /** A receiver that keeps what it got in a file: with TLS under this name, or without. */
  const receive = async (name: string, as?: string) => {
    const port = await freePort()
    const output = join(folder, `${name}.received`)
    const tls =
      as === undefined
        ? 'module(load="imtcp")'
        : `global(defaultNetstreamDriver="gtls" defaultNetstreamDriverCAFile="${folder}/ca.pem"
  defaultNetstreamDriverCertFile="${folder}/${as}.pem" defaultNetstreamDriverKeyFile="${folder}/${as}.key")
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="anon")`
    run(
      `${name}-receiver.conf`,
      `global(workDirectory="${folder}" maxMessageSize="64k")
${tls}
template(name="whole" type="string" string="%app-name% %msg%\\n")
input(type="imtcp" address="127.0.0.1" port="${port}")
action(type="omfile" file="${output}" template="whole")\n`,
    )
    // A sender that is refused waits for half a minute.
    await listens(port)
    return { port, received: () => linesOf(output).map((line) => line.replace(/^mcp-opa-sidecar /, '')) }
  }
  const send = (name: string, port: number, text: string) => {
    const { text: config, write } = placed(text, name)
    run(
      `${name}.conf`,
      config
        .replace('target="siem.example.com"', 'target="127.0.0.1"')
        .replace('port="6514"', `port="${port}"`),
    )
    write()
  }

  test('lines of a file output arrive as RFC 5424 messages, whole', async () => {
    const { port, received } = await receive('plain')
    const plain = example('rsyslog.conf')
      .replace(/^ *streamDriver.*\n/gm, '')
      .replace(/\n *defaultNetstreamDriver=.*\)/, ')')
    send('plain', port, plain)
    await expect.poll(() => received().length, { timeout: 18_000 }).toBe(lines.length)
    expect(received()).toEqual(lines)
  })

  test.skipIf(!modules.ok)('they arrive over TLS, and only where the name is the right one', async () => {
    const wrong = await receive('wrong', 'other.example.com')
    send('wrong', wrong.port, example('rsyslog.conf'))
    const right = await receive('right', 'siem.example.com')
    send('right', right.port, example('rsyslog.conf'))
    await expect.poll(() => right.received().length, { timeout: 18_000 }).toBe(lines.length)
    expect(right.received()).toEqual(lines)
    expect(wrong.received()).toEqual([])
  })
})

describe.skipIf(noKafka !== undefined)('the example to a real Kafka', () => {
  test('lines of a file output are in the topic, whole and in order, under their event id', async () => {
    const [broker, controller] = [await freePort(), await freePort()]
    const path = kafka.ok ? kafka.path : ''
    writeFileSync(
      join(folder, 'broker.pem'),
      readFileSync(join(folder, 'localhost.key'), 'utf8') +
        readFileSync(join(folder, 'localhost.pem'), 'utf8'),
    )
    writeFileSync(
      join(folder, 'kafka.properties'),
      `process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:${controller}
listeners=SSL://127.0.0.1:${broker},CONTROLLER://127.0.0.1:${controller}
advertised.listeners=SSL://localhost:${broker}
listener.security.protocol.map=SSL:SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=SSL
controller.listener.names=CONTROLLER
ssl.keystore.type=PEM
ssl.keystore.location=${folder}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location=${folder}/ca.pem
offsets.topic.replication.factor=1
log.dirs=${folder}/kafka
`,
    )
    writeFileSync(
      join(folder, 'consumer.properties'),
      `bootstrap.servers=localhost:${broker}
security.protocol=SSL
ssl.truststore.type=PEM
ssl.truststore.location=${folder}/ca.pem
metadata.max.age.ms=1000
`,
    )
    const java = (...args: string[]) => ['-Xmx512m', '-cp', `${path}/lib/*`, ...args]
    execFileSync(
      'java',
      java(
        'kafka.tools.StorageTool',
        'format',
        '-t',
        'MkU3OEVBNTcwNTJENDM2Qk',
        '-c',
        join(folder, 'kafka.properties'),
      ),
      { stdio: 'ignore' },
    )
    const server = spawn('java', java('kafka.Kafka', join(folder, 'kafka.properties')), { stdio: 'ignore' })
    ends.push(() => server.kill('SIGKILL'))
    await listens(broker)
    const { text, write } = placed(example('rsyslog-kafka.conf'), 'kafka-example')
    run('kafka-example.conf', text.replace('kafka.example.com:9093', `localhost:${broker}`))
    write()
    const consumer = spawn(
      'java',
      java(join(path, 'Consume.java'), join(folder, 'consumer.properties'), 'mcp-audit'),
      { stdio: ['ignore', 'pipe', 'ignore'] },
    )
    ends.push(() => consumer.kill('SIGKILL'))
    let got = ''
    consumer.stdout.setEncoding('utf8').on('data', (part: string) => {
      got += part
    })
    const rows = () => got.split('\n').slice(0, -1)
    await expect.poll(() => rows().length, { timeout: 240_000, interval: 500 }).toBe(lines.length)
    expect(rows()).toEqual(lines.map((line) => `${JSON.parse(line).custom.event_id}\t${line}`))
  }, 300_000)
})
