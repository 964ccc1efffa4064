// Makes the two images that the Dockerfile builds on from what this machine has, where no registry can be reached: Node
// as the project pins it, npm, a shell for the build, and the shared libraries that they need.
//   node tools/containers/bases.ts      prints the arguments of docker build
import { execFileSync } from 'node:child_process'
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const CHECKOUT = fileURLToPath(new URL('../..', import.meta.url))
const NODE = join(CHECKOUT, 'node_modules/.bin/node')
const CERTIFICATES = '/etc/ssl/certs/ca-certificates.crt'
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** @returns the names of the images: made once for each version of Node */
export function makeBases(): { build: string; runtime: string } {
  const node = realpathSync(existsSync(NODE) ? NODE : process.execPath)
  const { version } = process
  const names = { build: `local/build:${version}`, runtime: `local/runtime:${version}` }
  if (!isThere(names.runtime))
    image(names.runtime, (root) => {
      files(root)
      libraries(root, node)
    })
  if (!isThere(names.build))
    image(names.build, (root) => {
      files(root)
      program(root, node, '/usr/local/bin/node')
      for (const name of ['sh', 'env']) program(root, realpathSync(`/usr/bin/${name}`), `/usr/bin/${name}`)
      symlinkSync('usr/bin', join(root, 'bin'))
      cpSync(npmFolder(), join(root, 'usr/local/lib/node_modules/npm'), {
        recursive: true,
        dereference: true,
      })
      symlinkSync('../lib/node_modules/npm/bin/npm-cli.js', join(root, 'usr/local/bin/npm'))
    })
  return names
}

const docker = (args: string[], input?: Buffer): string =>
  execFileSync('docker', args, { encoding: 'utf8', maxBuffer: 64 << 20, ...(input && { input }) })

function isThere(name: string): boolean {
  return docker(['images', '--quiet', name]).trim() !== ''
}

function image(name: string, fill: (root: string) => void): void {
  const root = mkdtempSync(join(tmpdir(), 'mcp-base-'))
  const archive = `${root}.tar`
  try {
    fill(root)
    execFileSync('tar', ['-C', root, '--owner=0', '--group=0', '-cf', archive, '.'])
    // The certificates of this machine, among them those of a proxy that it may stand behind.
    const env = `ENV PATH=${PATH} NODE_EXTRA_CA_CERTS=${CERTIFICATES}`
    docker(['import', '--change', env, archive, name])
  } finally {
    rmSync(root, { recursive: true, force: true })
    rmSync(archive, { force: true })
  }
}

function files(root: string): void {
  for (const folder of ['etc/ssl/certs', 'usr/bin', 'usr/local/bin', 'tmp', 'home/nonroot'])
    mkdirSync(join(root, folder), { recursive: true })
  execFileSync('chmod', ['1777', join(root, 'tmp')])
  writeFileSync(
    join(root, 'etc/passwd'),
    'root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n',
  )
  writeFileSync(join(root, 'etc/group'), 'root:x:0:\nnonroot:x:65532:\n')
  writeFileSync(join(root, 'etc/nsswitch.conf'), 'hosts: files dns\n')
  if (existsSync(CERTIFICATES)) copyFileSync(CERTIFICATES, join(root, CERTIFICATES))
}

function program(root: string, from: string, to: string): void {
  mkdirSync(dirname(join(root, to)), { recursive: true })
  copyFileSync(from, join(root, to))
  libraries(root, from)
}

/** Each at the path by which the loader asks for it. */
function libraries(root: string, of: string): void {
  for (const [, path = ''] of execFileSync('ldd', [of], { encoding: 'utf8' }).matchAll(
    /(\/\S+\.so[.\d]*)/g,
  )) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    copyFileSync(realpathSync(path), join(root, path))
  }
}

/** The npm of this machine. */
function npmFolder(): string {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(folder, 'npm')
    if (existsSync(path) && realpathSync(path).endsWith('/npm/bin/npm-cli.js'))
      return dirname(dirname(realpathSync(path)))
  }
  throw new Error('there is no npm on PATH')
}

if (import.meta.main) {
  const { build, runtime } = makeBases()
  process.stdout.write(`--build-arg BUILD_IMAGE=${build} --build-arg RUNTIME_IMAGE=${runtime}\n`)
}
