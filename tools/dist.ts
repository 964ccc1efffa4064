// Writes dist/: the sources as JavaScript, for the npm package and the image. Node strips no types below node_modules.
//   npm run dist
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const CHECKOUT = fileURLToPath(new URL('..', import.meta.url))
/** A relative name of a source file, as it is in imports and in the addresses of threads. */
const SOURCE = /(['"])(\.{1,2}\/[^'"\n]*)\.ts\1/g

/** @throws Error where a file would refer to one that is not there */
export function writeDist(to: string): string[] {
  const from = join(CHECKOUT, 'src')
  rmSync(to, { recursive: true, force: true })
  const written: string[] = []
  for (const entry of readdirSync(from, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    const target = join(to, path.slice(from.length)).replace(/\.ts$/, '.js')
    mkdirSync(dirname(target), { recursive: true })
    if (!path.endsWith('.ts')) copyFileSync(path, target)
    else writeFileSync(target, plain(readFileSync(path, 'utf8')))
    written.push(target)
  }
  for (const path of written) if (path.endsWith('.js')) checkReferences(path)
  return written
}

/** Types become blanks, so that lines and columns of a stack are those of the source. */
const plain = (code: string): string => stripTypeScriptTypes(code).replace(SOURCE, '$1$2.js$1')

function checkReferences(path: string): void {
  for (const [, , name = ''] of readFileSync(path, 'utf8').matchAll(
    /(?:from|import\(|new URL\()\s*(['"])(\.{1,2}\/[^'"\n]*\.js)\1/g,
  )) {
    if (!existsSync(join(dirname(path), name)))
      throw new Error(`${path} refers to ${name}, which is not there`)
  }
}

if (import.meta.main) {
  const to = join(CHECKOUT, 'dist')
  process.stdout.write(`dist: ${writeDist(to).length} files\n`)
}
