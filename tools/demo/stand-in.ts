// NOT Pomerium: its place in the network, for tests of the containers. HTTPS with the certificate that it is given, its
// keys at Pomerium's address, and every other request passed to the sidecar with a signed assertion of the person whom
// `x-test-person` names. Without that header it passes the request as it came, as a route that is misconfigured does.
//   node tools/demo/stand-in.ts HOST CERTIFICATE KEY UPSTREAM [PORT]
import { readFileSync } from 'node:fs'
import { request } from 'node:http'
import { createServer } from 'node:https'
import { createStandIn, type Person } from './pomerium.ts'

const [host = '', certificate = '', key = '', upstream = '', port = '8443'] = process.argv.slice(2)
const people: Record<string, Person> = {
  alice: { subject: 'alice', email: 'alice@example.com', name: 'Alice', groups: ['engineering'] },
  mona: { subject: 'mona', email: 'mona@example.com', name: 'Mona', groups: ['engineering', 'maintainers'] },
  nobody: { subject: 'nobody', email: 'nobody@example.com', name: 'Nobody', groups: [] },
}
const standIn = await createStandIn(host)
const served = { cert: readFileSync(certificate), key: readFileSync(key) }

createServer(served, async (incoming, answer) => {
  if (incoming.url === '/.well-known/pomerium/jwks.json') {
    answer.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(standIn.jwks))
    return
  }
  const { 'x-test-person': name, host: _host, connection: _connection, ...headers } = incoming.headers
  const person = people[String(name)]
  const assertion = person && { 'x-pomerium-jwt-assertion': await standIn.mint(person) }
  const target = new URL(incoming.url ?? '/', upstream)
  const outgoing = request(
    target,
    { method: incoming.method, headers: { ...headers, ...assertion } },
    (answered) => {
      answer.writeHead(answered.statusCode ?? 502, answered.headers)
      answered.pipe(answer)
    },
  )
  outgoing.once('error', () => answer.headersSent || answer.writeHead(503).end())
  answer.once('close', () => outgoing.destroy())
  incoming.pipe(outgoing)
}).listen(Number(port), () => process.stdout.write(`listening on ${port}\n`))
process.once('SIGTERM', () => process.exit(0))
