// The page and the repository that it begins with, in an empty folder, up to a sidecar that has the change in force.
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { parse } from 'yaml'
import { opaPath } from '../tools/opa.ts'
import { createIssuer, people } from './support/assertions.ts'
import { startBundleServer } from './support/bundle-server.ts'
import { noOpa } from './support/policy.ts'
import { goProgram } from './support/programs.ts'
import { postBytes, sendRaw } from './support/raw.ts'
import { startRecorder } from './support/recorder.ts'
import { registryProgram, startRegistry } from './support/registry.ts'
import { startSidecar } from './support/sidecar.ts'

const root = join(import.meta.dirname, '..')
const folder = mkdtempSync(join(tmpdir(), 'mcp-repository-'))
const closers: (() => Promise<unknown>)[] = []
afterAll(async () => {
  for (const close of closers.reverse()) await close()
  rmSync(folder, { recursive: true })
})
const lacks = ['git', 'make', 'openssl'].filter((program) => {
  try {
    execFileSync('sh', ['-c', `command -v ${program}`])
    return false
  } catch {
    return true
  }
})
if (lacks.length > 0)
  console.warn(`SKIPPED: docs/policy-repository.md needs ${lacks.join(' and ')}, and there is none`)
const oras = registryProgram && (await goProgram('oras', 'oras.land/oras/cmd/oras@v1.3.6'))

const page = readFileSync(join(root, 'docs/policy-repository.md'), 'utf8')
const blocks = [...page.matchAll(/^```(\w+)(?: (\w+))?\n(.*?)^```$/gms)].map(
  ([, language = '', mark = '', text = '']) => ({ kind: `${language} ${mark}`.trim(), text }),
)

test.skipIf(noOpa || lacks.length > 0)(
  'every step of docs/policy-repository.md does what it says, and a sidecar has it in force',
  async () => {
    const bin = join(folder, 'bin')
    mkdirSync(bin)
    symlinkSync(await opaPath(), join(bin, 'opa'))
    if (oras) symlinkSync(oras, join(bin, 'oras'))
    const program = `#!/bin/sh\nexec "${process.execPath}" "${join(root, 'src/main.ts')}" "$@"\n`
    writeFileSync(join(bin, 'mcp-opa-sidecar'), program, { mode: 0o755 })
    symlinkSync(root, join(folder, 'mcp-opa-sidecar'))
    const repository = join(folder, 'acme-policy')
    const person = Object.fromEntries(
      ['AUTHOR', 'COMMITTER'].flatMap((who) => [
        [`GIT_${who}_NAME`, 'Ada'],
        [`GIT_${who}_EMAIL`, 'ada@example.com'],
      ]),
    )
    const env = { PATH: [bin, process.env.PATH].join(delimiter), HOME: folder, ...person }
    const run = (script: string, cwd = repository) =>
      execFileSync('bash', ['-euo', 'pipefail', '-c', script], { cwd, env, encoding: 'utf8', stdio: 'pipe' })

    // Where bundles go, and how a sidecar is told of it.
    const registry = oras ? await startRegistry() : undefined
    const plain = await startBundleServer()
    closers.push(plain.close, async () => registry?.close())
    const publish = (text: string) => {
      if (registry)
        return run(
          text
            .replace('registry.example.com', `${registry.host}`)
            .replace('make push', 'make push ORAS_FLAGS=--plain-http'),
        )
      for (const name of ['mcp', 'grants'])
        plain.serve(`/${name}`, readFileSync(join(repository, `out/${name}.tar.gz`)))
      return ''
    }
    const sidecarYaml = () => {
      const text = readFileSync(join(repository, 'sidecar.yaml'), 'utf8')
      const told = parse(
        text
          .replaceAll('https://registry.example.com', registry?.url ?? plain.url)
          .replaceAll('registry.example.com', registry?.host ?? ''),
      )
      if (!registry)
        for (const name of ['mcp', 'grants']) Object.assign(told.bundles[name], { resource: name })
      if (!registry) told.services.policies.type = ''
      for (const bundle of [told.bundles.mcp, told.bundles.grants])
        bundle.polling = { min_delay_seconds: 1, max_delay_seconds: 1 }
      told.keys.default.key = join(repository, told.keys.default.key)
      told.persistence_directory = join(folder, told.persistence_directory)
      return told
    }

    const [begin, ...rest] = blocks
    run(begin?.text ?? '', folder)
    // What was there before the change is what the sidecar starts with.
    run('make build KEY=key.pem')
    publish('make push REGISTRY=registry.example.com/acme')
    const issuer = createIssuer()
    const upstream = await startRecorder()
    closers.push(upstream.close)
    const sidecar = await startSidecar({
      upstream: upstream.url,
      jwks: issuer.jwks,
      config: sidecarYaml(),
      env: { REGISTRY_USER: 'mona', REGISTRY_PASSWORD: 'secret' },
    })
    closers.push(() => sidecar.stop())
    const ask = async (tool: string, repo: string, who = people.alice) => {
      const more = tool === 'get_commit' ? { sha: 'abc' } : { pullNumber: 1 }
      const params = { name: tool, arguments: { owner: 'acme', repo, ...more } }
      const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params })
      const { answers } = await sendRaw(sidecar.port, postBytes(issuer.mint(who), body))
      return { status: answers[0]?.status, text: answers[0]?.body ?? '' }
    }
    const inForce = async (revision: string) => {
      for (;;) {
        const status = await (await fetch(`${sidecar.admin}/v1/status`)).text()
        if (status.includes(`"active_revision":"${revision}"`)) return
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    }
    const denied = (seen: { text: string }) => seen.text.includes('Denied by policy')
    await inForce('grants-1')
    expect(denied(await ask('get_commit', 'app'))).toBe(false)
    expect(denied(await ask('get_commit', 'site'))).toBe(true)
    expect(denied(await ask('merge_pull_request', 'app'))).toBe(true)

    let pushed = 0
    for (const { kind, text } of rest) {
      if (kind === 'diff') {
        writeFileSync(join(folder, 'change.diff'), text)
        run('git apply ../change.diff')
        // Without the number it goes no further.
        expect(() => run('git checkout --quiet grants/.manifest && make raised BASE=main')).toThrow(
          /raise the sequence in grants\/.manifest/,
        )
        run('git checkout --quiet . && git apply ../change.diff')
      } else if (kind === 'sh push') {
        publish(text)
        pushed++
        await inForce('grants-2')
        expect(denied(await ask('get_commit', 'site'))).toBe(false)
        expect(denied(await ask('merge_pull_request', 'site'))).toBe(true)
      } else if (kind === 'sh') run(text)
    }
    expect(pushed).toBe(1)
    expect(run('make build verify KEY=key.pem')).toMatch(
      /^bundle grants: revision grants-3, data only, signed with the key default, sequence 3, roots /m,
    )
    publish('make push REGISTRY=registry.example.com/acme')
    await inForce('grants-3')
    expect(denied(await ask('get_commit', 'site'))).toBe(true)

    // A freeze holds against who may merge; what was signed by nobody is not taken.
    run(
      `sed -i 's/freeze: {}/freeze: {github: true}/' grants/data.yaml && sed -i 's/"sequence": 3/"sequence": 4/' grants/.manifest`,
    )
    expect(denied(await ask('merge_pull_request', 'app', people.mona))).toBe(false)
    run('make grants KEY=')
    publish('make push REGISTRY=registry.example.com/acme')
    for (;;) {
      const status = await (await fetch(`${sidecar.admin}/v1/status`)).text()
      if (status.includes('bundle_error')) break
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    expect(denied(await ask('merge_pull_request', 'app', people.mona))).toBe(false)
    run('make grants verify KEY=key.pem')
    publish('make push REGISTRY=registry.example.com/acme')
    await inForce('grants-4')
    expect((await ask('merge_pull_request', 'app', people.mona)).text).toContain('[team_freeze]')
    run('make reproducible')
  },
  300_000,
)

test('the workflow runs what the Makefile has', () => {
  const at = join(root, 'deploy/policy-repository')
  const workflow = parse(readFileSync(join(at, '.github/workflows/policy.yaml'), 'utf8'))
  const made = readFileSync(join(at, 'Makefile'), 'utf8')
  const targets = [...made.matchAll(/^([a-z]+):/gm)].map(([, name]) => name)
  const steps = Object.values(workflow.jobs as Record<string, { steps: { run?: string }[] }>).flatMap(
    ({ steps }) => steps,
  )
  const asked = steps.flatMap(({ run = '' }) =>
    run.startsWith('make')
      ? run
          .split(' ')
          .slice(1)
          .filter((word) => /^[a-z]+$/.test(word))
      : [],
  )
  expect(asked).toEqual(['reproducible', 'raised', 'build', 'verify', 'push'])
  for (const target of asked) expect(targets).toContain(target)
})
