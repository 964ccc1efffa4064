// What the official conformance suite says of one server directly and with the sidecar between, as docs/conformance.md.
//   npm run conformance              prints it
//   npm run conformance -- --write   writes it
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { startServer } from '../test/conformance/server.ts'
import {
  CLIENT_SCENARIOS,
  count,
  differences,
  type Results,
  RUNS,
  runClient,
  runSuite,
  startAllowAll,
} from '../test/conformance/suite.ts'

const page = fileURLToPath(new URL('../docs/conformance.md', import.meta.url))
const told = (results: Results) => {
  const { passed, failed } = count(results)
  return `${passed} passed, ${failed} failed`
}
const differing = (a: Results, b: Results) => Object.keys(differences(a, b)).join(', ') || 'none'
const row = (...cells: (string | number)[]) => `| ${cells.join(' | ')} |`

const server = await startServer()
const sidecar = await startAllowAll(server.url)
const servers: string[] = []
try {
  for (const run of RUNS) {
    const direct = await runSuite(run, server.url)
    const through = await runSuite(run, sidecar.url)
    const { scenarios } = count(direct)
    servers.push(row(run.name, scenarios, told(direct), told(through), differing(direct, through)))
  }
} finally {
  await sidecar.stop()
  await server.close()
}
const clients: string[] = []
for (const [scenario, version] of CLIENT_SCENARIOS) {
  const direct = await runClient(scenario, version, false)
  const through = await runClient(scenario, version, true)
  clients.push(row(scenario, version, told(direct), told(through), differing(direct, through)))
}

const text = `# Conformance

Written by \`npm run conformance -- --write\`; \`test/conformance/\` holds it. The official suite, \`@modelcontextprotocol/conformance\`, asks one server (\`test/conformance/server.ts\`) directly, then with the sidecar between, whose policy allows everything, is evaluated for each message and recorded. The two are compared check by check.

## Servers

| run | scenarios | directly | with the sidecar | scenarios that differ |
| --- | --- | --- | --- | --- |
${servers.join('\n')}

The server has sessions for the revisions up to 2025-11-25, which keep the revision that their handshake agreed on, single requests for 2026-07-28, and the extension for tasks (\`test/conformance/tasks.ts\`), which its SDK does not have. \`test/conformance/conformance.test.ts\` fails on any check that fails or differs.

## Clients

The suite's own servers, and a client of the official SDK (\`test/conformance/client.ts\`). Scenarios of authorization are Pomerium's.

| scenario | revision | directly | with the sidecar | differs |
| --- | --- | --- | --- | --- |
${clients.join('\n')}

## What the suite does not cover

Revision 2024-11-05, HTTP with SSE, stdio, and sessions over a restart are held by \`test/e2e/sse-legacy.test.ts\`, \`stdio.test.ts\`, \`matrix.test.ts\`, \`resumption.test.ts\` and \`clients.test.ts\`, with the official clients and servers ([transports.md](transports.md)).
`
if (process.argv.includes('--write')) writeFileSync(page, text)
else process.stdout.write(text)
