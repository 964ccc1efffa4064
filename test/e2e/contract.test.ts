// The contract is one: what the sidecar asks and the policy answers are documents of the schemas that Rego is checked with.
import { readFileSync } from 'node:fs'
import { fromJsonSchema } from '@modelcontextprotocol/server'
import { expect, test } from 'vitest'
import { startDemoServer } from '../../tools/demo/server.ts'
import { createIssuer, people } from '../support/assertions.ts'
import { CLIENTS } from '../support/clients.ts'
import { startSidecar } from '../support/sidecar.ts'

const schema = (name: string) =>
  fromJsonSchema(JSON.parse(readFileSync(`rego/schemas/${name}.json`, 'utf8')))['~standard']
const issuesOf = async (validator: ReturnType<typeof schema>, value: unknown) =>
  (await validator.validate(value)).issues ?? []

test('every recorded question and answer keeps to the schemas', async () => {
  const issuer = createIssuer()
  const server = await startDemoServer()
  const config = { plugins: { mcp: { trusted_proxies: ['127.0.0.1'] } } }
  const sidecar = await startSidecar({ upstream: server.url, jwks: issuer.jwks, config })
  const [input, decision] = [schema('input'), schema('decision')]
  for (const [, connect] of CLIENTS) {
    for (const person of ['alice', 'mona'] as const) {
      const { client, names, call, close } = await connect(sidecar.url, () =>
        issuer.mint({ ...people[person], department: 'platform' }),
      )
      await names()
      await client.listPrompts()
      await client.listResources()
      await client.listResourceTemplates()
      await client.readResource({ uri: 'repo://acme/app/contents/README.md' }).catch(() => undefined)
      await client.getPrompt({ name: 'issue_to_fix', arguments: { number: '2' } }).catch(() => undefined)
      await call('merge_pull_request', {
        owner: 'acme',
        repo: 'app',
        pullNumber: 7,
        nested: { extra: [1, null, true] },
      })
      await call('create_issue', { owner: 'acme', repo: 'app', title: 'T', body: 'password' })
      await close()
    }
  }
  await sidecar.stop()
  await server.close()

  const decisions = sidecar.records().filter((event) => event.custom.event === 'decision')
  expect(new Set(decisions.map((event) => event.input.method))).toEqual(
    new Set([
      'initialize',
      'server/discover',
      'tools/list',
      'prompts/list',
      'resources/list',
      'resources/templates/list',
      'resources/read',
      'prompts/get',
      'tools/call',
      'stream/open',
      'session/end',
    ]),
  )
  for (const { input: asked, result } of decisions) {
    expect(await issuesOf(input, asked), JSON.stringify(asked)).toEqual([])
    expect(await issuesOf(decision, result), JSON.stringify(result)).toEqual([])
  }
  // The check can fail: the schemas are closed.
  expect(await issuesOf(input, { ...decisions[0]?.input, misspelt: 1 })).not.toEqual([])
  expect(await issuesOf(decision, { ...decisions[0]?.result, misspelt: 1 })).not.toEqual([])
})
