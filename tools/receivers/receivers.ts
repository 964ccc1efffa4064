// Real receivers of records for tests, kept in `.cache/receivers`. What is there is used; `npm run sinks:real` fetches the rest.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { cp, mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
const cache = fileURLToPath(new URL('../../.cache/receivers/', import.meta.url))
export type Found = { ok: true; path: string } | { ok: false; why: string }

const ROTEL = '0.0.1a15'
const rotel = join(cache, 'rotel')

/** An OTLP receiver, the package `rotel` of PyPI. */
export function findRotel(): Found {
  const path = join(rotel, 'rotel/rotel-agent')
  return existsSync(path)
    ? { ok: true, path }
    : { ok: false, why: `there is no ${path}: npm run sinks:real fetches it` }
}
export async function fetchRotel(): Promise<void> {
  if (findRotel().ok) return
  await mkdir(rotel, { recursive: true })
  await run('python3', ['-m', 'pip', 'install', '-q', '--no-deps', '--target', rotel, `rotel==${ROTEL}`])
}

const modules = join(cache, 'rsyslog')

/** Debian's, on PATH or where an administrator's programs are. */
export async function findRsyslog(): Promise<Found> {
  for (const path of ['rsyslogd', '/usr/sbin/rsyslogd']) {
    const found = await run(path, ['-v']).catch(() => undefined)
    if (found) return { ok: true, path }
  }
  return { ok: false, why: 'there is no rsyslogd: apt-get install rsyslog' }
}
/** Its modules for TLS and Kafka: a folder of modules, and one of the libraries that they need. */
export async function findRsyslogModules(): Promise<Found & { libraries?: string }> {
  const rsyslog = await findRsyslog()
  if (!rsyslog.ok) return rsyslog
  const libraries = join(modules, 'usr/lib', MULTIARCH)
  const path = join(libraries, 'rsyslog')
  return existsSync(join(path, 'omkafka.so')) && existsSync(join(path, 'lmnsd_gtls.so'))
    ? { ok: true, path, libraries }
    : { ok: false, why: `there are no modules in ${path}: npm run sinks:real fetches them` }
}
export async function fetchRsyslogModules(): Promise<void> {
  if (!(await findRsyslogModules()).ok)
    await unpack(modules, ['rsyslog-gnutls', 'rsyslog-kafka', 'librdkafka1'])
}
const MULTIARCH = process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu'

const opensearch = join(cache, 'opensearch')

/** The folder with the libraries of OpenSearch and what starts one node; from Maven. */
export async function findOpenSearch(): Promise<Found> {
  if (!existsSync(join(opensearch, 'lib')))
    return { ok: false, why: `there is no ${opensearch}/lib: npm run sinks:real fetches it with Maven` }
  const java = await run('java', ['-version']).catch(() => undefined)
  return java ? { ok: true, path: opensearch } : { ok: false, why: 'there is no java, 17 or later' }
}
export const fetchOpenSearch = (): Promise<void> =>
  fetchLibraries(opensearch, 'opensearch', 'OpenSearch.java')

/** Java libraries that a `pom.xml` names, and a program that uses them. */
async function fetchLibraries(to: string, name: string, program: string): Promise<void> {
  await mkdir(to, { recursive: true })
  for (const file of ['pom.xml', program])
    await cp(fileURLToPath(new URL(`${name}/${file}`, import.meta.url)), join(to, file))
  if (!existsSync(join(to, 'lib')))
    await run('mvn', ['-q', 'dependency:copy-dependencies', '-DoutputDirectory=lib'], { cwd: to })
}

const kafka = join(cache, 'kafka')

/** The folder with the libraries of a broker, and what reads a topic; from Maven. */
export async function findKafka(): Promise<Found> {
  if (!existsSync(join(kafka, 'lib')))
    return { ok: false, why: `there is no ${kafka}/lib: npm run sinks:real fetches it with Maven` }
  const java = await run('java', ['-version']).catch(() => undefined)
  return java ? { ok: true, path: kafka } : { ok: false, why: 'there is no java, 17 or later' }
}
export const fetchKafka = (): Promise<void> => fetchLibraries(kafka, 'kafka', 'Consume.java')

const sigma = join(cache, 'sigma')

/** The checker of Sigma rules, with the backend for Splunk; from PyPI. */
export function findSigma(): Found {
  const path = join(sigma, 'bin/sigma')
  return existsSync(path)
    ? { ok: true, path }
    : { ok: false, why: `there is no ${path}: npm run sinks:real fetches it` }
}
export async function fetchSigma(): Promise<void> {
  if (findSigma().ok) return
  await run('python3', ['-m', 'venv', sigma])
  const packages = ['sigma-cli==3.1.0', 'pysigma-backend-splunk==2.1.0']
  await run(join(sigma, 'bin/pip'), ['install', '-q', ...packages])
}

/** Programs of Debian's packages, unpacked and not installed: what they would start by themselves stays off. */
async function unpack(folder: string, packages: string[]): Promise<void> {
  await mkdir(folder, { recursive: true })
  await run('apt-get', ['download', ...packages], { cwd: folder })
  for (const name of await readdir(folder))
    if (name.endsWith('.deb')) await run('dpkg-deb', ['-x', join(folder, name), folder])
}

const prometheus = join(cache, 'prometheus')

/** Debian's Prometheus. */
export function findPrometheus(): Found {
  const path = join(prometheus, 'usr/bin/prometheus')
  return existsSync(path)
    ? { ok: true, path }
    : { ok: false, why: `there is no ${path}: npm run sinks:real fetches it` }
}
export async function fetchPrometheus(): Promise<void> {
  if (!findPrometheus().ok) await unpack(prometheus, ['prometheus'])
}

const aws = join(cache, 'aws')

/** The folder with `aws`, and `moto_server`, which answers it as S3 does; from PyPI. */
export function findAws(): Found {
  const path = join(aws, 'bin')
  return existsSync(join(path, 'aws')) && existsSync(join(path, 'moto_server'))
    ? { ok: true, path }
    : { ok: false, why: `there is no aws or moto_server in ${path}: npm run sinks:real fetches them` }
}
export async function fetchAws(): Promise<void> {
  if (findAws().ok) return
  await run('python3', ['-m', 'venv', aws])
  await run(join(aws, 'bin/pip'), ['install', '-q', 'awscli==1.46.2', 'moto[server]==5.2.5'])
}
