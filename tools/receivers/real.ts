// Outputs, examples and dashboards against real receivers: an OTLP receiver, OpenSearch, rsyslog, Kafka, an S3 of PyPI,
// Prometheus, sigma-cli. Minutes, and a Java machine of a gigabyte.
//   npm run sinks:real
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import {
  fetchAws,
  fetchKafka,
  fetchOpenSearch,
  fetchPrometheus,
  fetchRotel,
  fetchRsyslogModules,
  fetchSigma,
} from './receivers.ts'

for (const [name, fetching] of [
  ['rotel', fetchRotel],
  ['OpenSearch', fetchOpenSearch],
  ['sigma-cli', fetchSigma],
  ['Prometheus', fetchPrometheus],
  ['modules of rsyslog', fetchRsyslogModules],
  ['Kafka', fetchKafka],
  ['the AWS CLI', fetchAws],
] as const)
  await fetching().catch((error: Error) =>
    process.stdout.write(`${name} could not be fetched: ${error.message}\n`),
  )

const root = fileURLToPath(new URL('../../', import.meta.url))
spawn(`${root}node_modules/.bin/vitest`, ['run', 'test/real', 'test/siem.test.ts'], {
  cwd: root,
  stdio: 'inherit',
  env: { ...process.env, SINKS_REAL: '1' },
}).once('exit', (code) => {
  process.exitCode = code ?? 1
})
