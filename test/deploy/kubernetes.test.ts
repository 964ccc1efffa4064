import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseAllDocuments } from 'yaml'
import { readConfig } from '../../src/config.ts'
import type { Parsed } from '../support/raw.ts'
import { installValidator, validate } from './kubernetes-validate.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const manifests = join(root, 'deploy/kubernetes')
const folder = mkdtempSync(join(tmpdir(), 'mcp-kubernetes-'))
const noKubectl = spawnSync('kubectl', ['version', '--client']).status !== 0
let noSchemas: string | undefined
beforeAll(async () => {
  noSchemas = await installValidator()
  const say = (what: string) => process.stderr.write(`SKIPPED in test/deploy/kubernetes.test.ts: ${what}\n`)
  if (noKubectl) say('everything, for there is no kubectl here')
  else if (noSchemas !== undefined) say(`the schemas, which cannot be installed: ${noSchemas}`)
}, 240_000)
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const render = (path: string): string => execFileSync('kubectl', ['kustomize', path], { encoding: 'utf8' })
const objects = (path: string): Parsed[] => parseAllDocuments(render(path)).map((document) => document.toJS())
const github = () => objects(join(manifests, 'github'))
const ofKind = (all: Parsed[], kind: string) => all.filter((object) => object.kind === kind)
const podOf = (all: Parsed[]) => ofKind(all, 'Deployment')[0]?.spec.template as Parsed

describe.skipIf(noKubectl)('deploy/kubernetes, as kustomize renders it', () => {
  test.for(['1.33', '1.35', '1.37'])(
    'is what Kubernetes %s takes, and a misspelt key is not',
    { timeout: 60_000 },
    async (version, { skip }) => {
      skip(noSchemas !== undefined, 'no schemas')
      for (const name of ['github', 'bundle-image']) {
        const file = join(folder, `${name}-${version}.yaml`)
        writeFileSync(file, render(join(manifests, name)))
        expect(await validate(file, version), name).toBe('')
        writeFileSync(
          file,
          render(join(manifests, name)).replace('readOnlyRootFilesystem', 'readOnlyRootFileSystem'),
        )
        expect(await validate(file, version)).toContain('readOnlyRootFileSystem')
      }
    },
  )

  test('the sidecar is a native one, starts first, and no probe asks the server', () => {
    const { spec } = podOf(github())
    expect(spec.initContainers).toHaveLength(1)
    const [sidecar] = spec.initContainers
    expect(sidecar).toMatchObject({ name: 'mcp-opa-sidecar', restartPolicy: 'Always' })
    const paths = ['startupProbe', 'readinessProbe', 'livenessProbe'].map((probe) => sidecar[probe].httpGet)
    expect(paths.map(({ path }) => path)).toEqual(['/health?bundles', '/health?bundles&plugins', '/health'])
    expect(new Set(paths.map(({ port }) => port))).toEqual(new Set(['health']))
    const { text } = configOf(github())
    expect(text).toContain('health_addr: 0.0.0.0:8283')
    expect(text).not.toContain('admin_addr')
  })

  test('every container passes the restricted Pod Security Standard', () => {
    const { spec } = podOf(github())
    expect(spec.securityContext).toMatchObject({
      runAsNonRoot: true,
      seccompProfile: { type: 'RuntimeDefault' },
    })
    for (const { name, securityContext, image } of [...spec.initContainers, ...spec.containers]) {
      expect(securityContext, name).toMatchObject({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      })
      expect(securityContext.runAsUser, name).toBeGreaterThan(0)
      expect(image, name).toMatch(/:v?\d+\.\d+\.\d+$/)
    }
    for (const volume of spec.volumes) expect(volume.hostPath, volume.name).toBeUndefined()
    for (const key of ['hostNetwork', 'hostPID', 'hostIPC']) expect(spec[key]).toBeUndefined()
    const [namespace] = ofKind(github(), 'Namespace')
    expect(namespace.metadata.labels['pod-security.kubernetes.io/enforce']).toBe('restricted')
  })

  test('no token of the API server is in the pod', () => {
    const all = github()
    expect(podOf(all).spec.automountServiceAccountToken).toBe(false)
    for (const account of ofKind(all, 'ServiceAccount'))
      expect(account.automountServiceAccountToken).toBe(false)
  })

  test('the pod has time to drain: both sleep, and the grace is longer than all of it', () => {
    const { spec } = podOf(github())
    const sleeps = [...spec.initContainers, ...spec.containers].map(
      ({ lifecycle }) => lifecycle.preStop.sleep.seconds as number,
    )
    expect(sleeps).toHaveLength(2)
    const drain = 10 + 3
    expect(spec.terminationGracePeriodSeconds).toBeGreaterThan(sleeps.reduce((sum, one) => sum + one, drain))
  })

  test('only Pomerium reaches it, and only the port of MCP', () => {
    const all = github()
    const policy = ofKind(all, 'NetworkPolicy').find(({ spec }) => spec.policyTypes.includes('Ingress'))
    const labels = podOf(all).metadata.labels
    expect(labels).toMatchObject(policy.spec.podSelector.matchLabels)
    expect(policy.spec.ingress).toEqual([
      {
        from: [
          {
            namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'pomerium' } },
            podSelector: { matchLabels: { 'app.kubernetes.io/name': 'pomerium' } },
          },
        ],
        ports: [{ protocol: 'TCP', port: 8081 }],
      },
    ])
    expect(podOf(all).spec.containers[0].args).toContain('--listen-host=127.0.0.1')
    expect(podOf(all).spec.containers[0].ports).toBeUndefined()
    const [service] = ofKind(all, 'Service')
    expect(service.spec.ports).toEqual([{ name: 'mcp', port: 8081, targetPort: 'mcp' }])
    expect(labels).toMatchObject(service.spec.selector)
  })

  test('the configuration in it is sound, and its names and volumes are those of the pod', () => {
    const all = github()
    const { name, text } = configOf(all)
    const { spec } = podOf(all)
    expect(spec.volumes).toContainEqual({ name: 'mcp-opa-sidecar-config', configMap: { name } })
    const read = readConfig(
      text.replace('/app/bundles/default.tar.gz', join(root, 'bundles/default.tar.gz')),
      [],
      { SESSION_KEY: 'k'.repeat(32) },
    )
    expect(read.ok ? [] : read.faults).toEqual([])
    expect(text).toContain('path: /var/lib/mcp-opa-sidecar')
    expect(spec.initContainers[0].env.map((one: { name: string }) => one.name)).toEqual(['SESSION_KEY'])
  })

  test('a Deployment without the label stays as it is', () => {
    const copy = join(folder, 'kubernetes')
    cpSync(manifests, copy, { recursive: true })
    const path = join(copy, 'github/deployment.yaml')
    writeFileSync(path, readFileSync(path, 'utf8').replace(', mcp-opa-sidecar/inject: "true"', ''))
    expect(podOf(objects(join(copy, 'github'))).spec.initContainers).toBeUndefined()
  })

  test('with the bundle in an image only the bundle is another', () => {
    const { spec } = podOf(objects(join(manifests, 'bundle-image')))
    expect(spec.volumes.find((volume: { image?: object }) => volume.image)?.image.reference).toMatch(/:\S+$/)
    expect(spec.initContainers[0].args.slice(-2)).toEqual(['--bundle', '/bundle/bundle.tar.gz'])
    expect(spec.initContainers[0].volumeMounts).toContainEqual({
      name: 'mcp-policy',
      mountPath: '/bundle',
      readOnly: true,
    })
  })
})

function configOf(all: Parsed[]): { name: string; text: string } {
  const [map] = ofKind(all, 'ConfigMap')
  return { name: map.metadata.name, text: map.data['config.yaml'] }
}
