// An MCP server that answers at once and does nothing else.
import { createServer } from 'node:http'
import { announce } from './processes.ts'
import { resultTexts } from './traffic.ts'

const results = resultTexts()

const server = createServer((request, response) => {
  const parts: Buffer[] = []
  request.on('data', (chunk: Buffer) => parts.push(chunk))
  request.on('end', () => {
    const { id, method } = JSON.parse(Buffer.concat(parts).toString()) as { id: number; method: string }
    const text = `{"jsonrpc":"2.0","id":${id},"result":${results[method] ?? '{}'}}`
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) })
    response.end(text)
  })
})
server.keepAliveTimeout = 120_000
announce(server)
