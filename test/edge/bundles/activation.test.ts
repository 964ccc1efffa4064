import { mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import type { Change } from '../../../src/edge/bundles/activation.ts'
import { ARCHIVE_LIMITS } from '../../../src/edge/bundles/archive.ts'
import { type Bundles, createBundles } from '../../../src/edge/bundles/bundles.ts'
import type { BundleError } from '../../../src/edge/bundles/failure.ts'
import type { BundleSettings } from '../../../src/edge/bundles/settings.ts'
import type { Policy } from '../../../src/edge/judge/bundle.ts'
import { createPool, type Judging, type Pool } from '../../../src/edge/judge/pool.ts'
import type { Judgement } from '../../../src/pep/ports.ts'
import { allowing, dataBundle } from '../../support/bundles.ts'
import { questionOf, settingsOf } from '../../support/judging.ts'
import { buildBundle, noOpa } from '../../support/policy.ts'

const PATH = 'mcp/main/decision'
const folder = await mkdtemp(join(tmpdir(), 'mcp-activation-'))
afterAll(() => rm(folder, { recursive: true }))

const judgingBy = ({ module, data, revisions, masks }: Policy): Judging => ({
  module,
  data,
  settings: { ...settingsOf(revisions), masks },
})
let n = 0
const question = (tool: string) =>
  questionOf({ decision_id: `d-${++n}`, tool: { name: tool, declared: 'unknown' } })
const answerOf = (judged: Judgement) =>
  judged.kind === 'decided'
    ? { allow: judged.decision.allow, code: judged.decision.reasons[0]?.code, revision: judged.revision }
    : judged.kind === 'unavailable'
      ? judged.fault
      : judged.kind

/** A pool and the bundles that feed it, with all that was told of them; ended after the test. */
const running: { bundles: Bundles; pool: Pool }[] = []
afterEach(async () => {
  for (const { bundles, pool } of running.splice(0)) {
    await bundles.close()
    await pool.close()
  }
})
async function begin(files: Record<string, string>) {
  const settings: BundleSettings = Object.fromEntries(
    Object.entries(files).map(([name, path]) => [name, { kind: 'file', path, limits: ARCHIVE_LIMITS }]),
  )
  const pool = await createPool({ jwks: undefined, deadline: 2_000, queue: 10_000 })
  const changes: Change[] = []
  const failures: BundleError[] = []
  const told: (() => void)[] = []
  const tell = () => {
    for (const listener of told.splice(0)) listener()
  }
  const none = () => undefined
  const bundles = createBundles(
    settings,
    { path: PATH, userAgent: 'test', persistence: undefined, maxAge: undefined, filesEvery: 20 },
    {
      take: (policy, swapped) => pool.activate(judgingBy(policy), swapped),
      news: {
        requested: none,
        confirmed: none,
        downloaded: none,
        activated: none,
        failed: none,
        mended: none,
      },
      failed: (_name, error) => {
        failures.push(error)
        tell()
      },
    },
  )
  bundles.onActivated((change) => {
    changes.push(change)
    tell()
  })
  running.push({ bundles, pool })
  /** Waits until what is told makes it true. */
  const until = async (holds: () => boolean) => {
    while (!holds()) await new Promise<void>((resolve) => told.push(resolve))
  }
  const ask = async (tool: string) => answerOf(await pool.judge(question(tool)))
  return { pool, bundles, changes, failures, until, ask }
}

/** As a deployment writes: beside, then into its place. */
async function put(path: string, bytes: Buffer | string) {
  await writeFile(`${path}.part`, bytes)
  await rename(`${path}.part`, path)
}

describe.skipIf(noOpa)('a policy is put in force while calls are judged', async () => {
  const built: Record<string, Buffer> = {}
  const build = async (
    mark: string,
    manifest = { revision: mark, roots: ['mcp'] },
    rego = allowing(mark),
  ) => {
    const bundle = await buildBundle({
      'mcp/main/main.rego': rego,
      '.manifest': JSON.stringify(manifest),
    })
    built[mark] = await readFile(bundle.path)
    await bundle.dispose()
  }
  if (!noOpa) {
    await Promise.all([
      build('one'),
      build('two'),
      build(
        'conflicting',
        undefined,
        `${allowing('conflicting')}\nanswer := {"allow": input.tool.name == "x"} if input.tool\n`,
      ),
    ])
  }
  const policyFile = async (mark: string) => {
    const path = join(folder, `policy-${++n}.tar.gz`)
    await writeFile(path, built[mark] ?? '')
    return path
  }
  const dataFile = async (data: object, manifest: object = {}, roots = ['config']) => {
    const path = join(folder, `data-${++n}.tar.gz`)
    await writeFile(path, await dataBundle(roots, data, manifest))
    return path
  }

  test('each question is answered by the old or the new one, whole, and none is lost', async () => {
    const mcp = await policyFile('one')
    const { ask, changes, until, bundles } = await begin({
      mcp,
      data: await dataFile({ config: { allowed: ['a'] } }),
    })
    await bundles.start()
    const answers: unknown[] = []
    let asking = true
    const asked = (async () => {
      while (asking) answers.push(...(await Promise.all(Array.from({ length: 50 }, () => ask('a')))))
    })()
    await put(mcp, built.two ?? '')
    await until(() => changes.length === 2)
    const after = await ask('a')
    asking = false
    await asked
    expect(after).toEqual({ allow: true, code: 'two', revision: 'two, unversioned' })
    const kinds = new Set(answers.map((answer) => JSON.stringify(answer)))
    expect([...kinds].sort()).toEqual([
      '{"allow":true,"code":"one","revision":"one, unversioned"}',
      '{"allow":true,"code":"two","revision":"two, unversioned"}',
    ])
    const first = answers.findIndex((answer) => JSON.stringify(answer).includes('two'))
    expect(answers.slice(first).every((answer) => JSON.stringify(answer).includes('two'))).toBe(true)
    expect(changes[1]?.from?.revisions.mcp).toEqual({ revision: 'one' })
    expect(bundles.statuses.all().mcp).toMatchObject({ active_revision: 'two', type: 'snapshot' })
  })

  test('data changes without a rebuild; what the data takes away is denied from then on', async () => {
    const data = await dataFile({ config: { allowed: ['a', 'b'] } })
    const { ask, changes, until, bundles } = await begin({ mcp: await policyFile('one'), data })
    await bundles.start()
    expect(await ask('b')).toMatchObject({ allow: true })
    await put(data, await dataBundle(['config'], { config: { allowed: ['a'] } }, { revision: '2' }))
    await until(() => changes.length === 2)
    expect(await ask('b')).toEqual({ allow: false, code: 'one', revision: 'one, 2' })
  })

  test('a bundle whose canaries do not hold is not active, and says which; mended, it is', async () => {
    const data = await dataFile({ config: { allowed: ['a'] } })
    const { ask, changes, failures, until, bundles } = await begin({ mcp: await policyFile('one'), data })
    await bundles.start()
    const canaries = {
      'b is denied': { input: { tool: { name: 'b' } }, allow: false, code: 'one' },
      'a is allowed': { input: { tool: { name: 'a' } }, allow: true },
      'c is for another reason': { input: { tool: { name: 'c' } }, allow: false, code: 'other' },
    }
    await put(data, await dataBundle(['config'], { config: { allowed: ['b'], canaries } }))
    await until(() => failures.length === 1)
    expect(failures[0]).toMatchObject({ code: 'canaries' })
    expect(failures[0]?.message).toContain('canary "b is denied" must be denied and is allowed (one)')
    expect(failures[0]?.message).toContain('canary "a is allowed" must be allowed and is denied (one)')
    expect(failures[0]?.message).toContain(
      'canary "c is for another reason" must have the reason other (one)',
    )
    expect(await ask('b')).toMatchObject({ allow: false })
    expect(bundles.statuses.all().data).toMatchObject({ code: 'bundle_error' })
    const good = { config: { allowed: ['a', 'x'], canaries: { 'a is allowed': canaries['a is allowed'] } } }
    await put(data, await dataBundle(['config'], good))
    await until(() => changes.length === 2)
    expect(await ask('x')).toMatchObject({ allow: true })
    expect(bundles.statuses.all().data?.code).toBeUndefined()
  })

  test.each([
    ['a map without input', { x: { allow: true } }, /must be \{input/],
    ['an unknown key', { x: { input: {}, allow: false, alow: true } }, /has "alow"/],
    ['a list', [{ input: {}, allow: false }], /not a map/],
  ])('canaries that are %s are refused, not passed over', async (_name, canaries, says) => {
    const data = await dataFile({ config: { allowed: [], canaries } })
    const { bundles, ask } = await begin({ mcp: await policyFile('one'), data })
    await expect(bundles.start()).rejects.toThrow(says)
    expect(await ask('a')).toBe('no_bundle')
  })

  test('an evaluation that aborts is a canary that does not hold, and spoils no other', async () => {
    const canaries = {
      aborts: { input: { tool: { name: 'a' } }, allow: false },
      holds: { input: { method: 'ping' }, allow: false, code: 'conflicting' },
    }
    const data = await dataFile({ config: { allowed: ['a'], canaries } })
    const { bundles } = await begin({ mcp: await policyFile('conflicting'), data })
    const why = await bundles.start().catch((error: Error) => error.message)
    expect(why).toMatch(/canary "aborts" could not be evaluated/)
    expect(why).not.toContain('holds')
  })

  test('an older sequence is refused; old content comes back under a new number', async () => {
    const data = await dataFile({ config: { allowed: ['a'], sequence: 7 } })
    const { ask, changes, failures, until, bundles } = await begin({ mcp: await policyFile('one'), data })
    await bundles.start()
    for (const [older, says] of [
      [{ config: { allowed: ['b'], sequence: 6 } }, /its sequence is 6 and 7 was active/],
      [{ config: { allowed: ['b'] } }, /its sequence is missing/],
    ] as const) {
      const before = failures.length
      await put(data, await dataBundle(['config'], older))
      await until(() => failures.length > before)
      expect(failures.at(-1)).toMatchObject({ code: 'sequence', message: expect.stringMatching(says) })
    }
    expect(await ask('b')).toMatchObject({ allow: false })
    await put(data, await dataBundle(['config'], { config: { allowed: ['b'], sequence: 8 } }))
    await until(() => changes.length === 2)
    expect(await ask('b')).toMatchObject({ allow: true })
  })

  test('the number of a bundle without `config` is in its manifest', async () => {
    const extra = await dataFile({ directory: {} }, { metadata: { sequence: 3 } }, ['directory'])
    const { failures, until, bundles } = await begin({
      mcp: await policyFile('one'),
      data: await dataFile({ config: { allowed: [] } }),
      extra,
    })
    await bundles.start()
    await put(
      extra,
      await dataBundle(['directory'], { directory: { bob: {} } }, { metadata: { sequence: 2 } }),
    )
    await until(() => failures.length === 1)
    expect(failures[0]).toMatchObject({ code: 'sequence', bundle: 'extra' })
  })

  test('half a file is no bundle; its whole is taken once it is there', async () => {
    const mcp = await policyFile('one')
    const { changes, failures, until, bundles, ask } = await begin({
      mcp,
      data: await dataFile({ config: { allowed: ['a'] } }),
    })
    await bundles.start()
    const bytes = built.two ?? Buffer.alloc(0)
    await writeFile(mcp, bytes.subarray(0, bytes.length / 2))
    await until(() => failures.length === 1)
    expect(failures[0]).toMatchObject({ code: 'malformed', bundle: 'mcp' })
    expect(await ask('a')).toMatchObject({ allow: true, code: 'one' })
    await writeFile(mcp, bytes)
    await until(() => changes.length === 2)
    expect(await ask('a')).toMatchObject({ allow: true, code: 'two' })
  })

  test('a file that is gone changes nothing, and is said once', async () => {
    const mcp = await policyFile('one')
    const data = await dataFile({ config: { allowed: ['a'] } })
    const { failures, until, bundles, ask } = await begin({ mcp, data })
    await bundles.start()
    await rm(data)
    await until(() => failures.length === 1)
    expect(failures[0]).toMatchObject({ code: 'unreachable' })
    expect(await ask('a')).toMatchObject({ allow: true, code: 'one' })
  })

  test('two bundles that need each other are put in force together', async () => {
    const canaries = { b: { input: { tool: { name: 'b' } }, allow: true } }
    const data = await dataFile({ config: { allowed: ['a'] } }, {}, ['config/allowed'])
    const extra = await dataFile({ config: { canaries: {} } }, {}, ['config/canaries'])
    const { changes, failures, until, bundles } = await begin({ mcp: await policyFile('one'), data, extra })
    await bundles.start()
    await put(extra, await dataBundle(['config/canaries'], { config: { canaries } }))
    await until(() => failures.length === 1)
    await put(data, await dataBundle(['config/allowed'], { config: { allowed: ['b'] } }))
    await until(() => changes.length === 2)
    expect([...(changes[1]?.brought.keys() ?? [])].sort()).toEqual(['data', 'extra'])
  })

  test('a folder is a bundle too, as Kubernetes mounts a ConfigMap, and is swapped as one', async () => {
    const mount = join(folder, 'mount')
    const version = async (name: string, yaml: string) => {
      await mkdir(join(mount, name), { recursive: true })
      await writeFile(join(mount, name, 'data.yaml'), yaml)
      await writeFile(join(mount, name, '.manifest'), '{"roots": ["config"]}')
      await symlink(name, join(mount, '..data.part'))
      await rename(join(mount, '..data.part'), join(mount, '..data'))
    }
    await version('..2026_1', 'config: {allowed: [a]}\n')
    await symlink('..data/data.yaml', join(mount, 'data.yaml'))
    await symlink('..data/.manifest', join(mount, '.manifest'))
    const { changes, until, bundles, ask } = await begin({ mcp: await policyFile('one'), data: mount })
    await bundles.start()
    expect(await ask('a')).toMatchObject({ allow: true })
    await version('..2026_2', 'config: {allowed: [b]}\n')
    await until(() => changes.length === 2)
    expect(await ask('a')).toMatchObject({ allow: false })
    expect(await ask('b')).toMatchObject({ allow: true })
  })

  test.each([
    ['a word that YAML 1.1 reads as no', 'config: {allowed: [no]}\n', /1\.1 and 1\.2 read it differently/],
    ['a key twice', 'config: {allowed: []}\nconfig: {}\n', /as YAML/],
    ['a list', '[a]\n', /not a JSON object/],
  ])('YAML with %s is refused', async (_name, yaml, says) => {
    const mount = join(folder, `yaml-${++n}`)
    await mkdir(mount)
    await writeFile(join(mount, 'data.yaml'), yaml)
    await writeFile(join(mount, '.manifest'), '{"roots": ["config"]}')
    const { bundles } = await begin({ mcp: await policyFile('one'), data: mount })
    await expect(bundles.start()).rejects.toThrow(says)
  })
})
