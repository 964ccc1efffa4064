import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'

const read = (path: string) => readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), 'utf8')
/** What Pomerium's own sources know: a key that is not there would be refused, or ignored. */
const known = JSON.parse(read('test/fixtures/pomerium-keys.json')) as {
  keys: string[]
  annotations: string[]
}

type Route = {
  from: string
  to: string
  pass_identity_headers?: boolean
  mcp?: { server?: object }
} & Record<string, unknown>
type File = { routes: Route[] } & Record<string, unknown>
/** Below these, keys are names of somebody's own or another language's. */
const FREE = new Set(['policy', 'runtime_flags'])

function keysOf(node: unknown): string[] {
  if (Array.isArray(node)) return node.flatMap(keysOf)
  if (typeof node !== 'object' || node === null) return []
  return Object.entries(node).flatMap(([key, value]) => [key, ...(FREE.has(key) ? [] : keysOf(value))])
}

describe.each(['deploy/pomerium/routes.yaml', 'deploy/compose/pomerium.yaml'])('%s', (path) => {
  // The part that prepare.sh switches on is read as it is when it is on.
  const file = parse(read(path).replaceAll('#@GITHUB@ ', '')) as File

  test('has only keys that Pomerium 0.33.1 knows', () => {
    const keys = keysOf(file)
    expect(keys.length).toBeGreaterThan(10)
    expect(keys.filter((key) => !known.keys.includes(key))).toEqual([])
  })

  test('each route passes the identity and is a route of an MCP server', () => {
    for (const route of file.routes) {
      expect(route.pass_identity_headers, route.from).toBe(true)
      expect(route.mcp?.server, route.from).toBeDefined()
      expect(route.policy, route.from).toBeDefined()
    }
  })
})

test('the annotations of the ingress are those that the ingress controller 0.33.1 knows', () => {
  const ingress = parse(read('deploy/kubernetes/github/ingress.yaml')) as {
    metadata: { annotations: Record<string, string> }
  }
  const names = Object.keys(ingress.metadata.annotations)
  const own = names.map((name) => name.replace('ingress.pomerium.io/', ''))
  expect(own.filter((name) => !known.annotations.includes(name))).toEqual([])
  expect(own).toEqual(expect.arrayContaining(['mcp_server', 'pass_identity_headers']))
})
