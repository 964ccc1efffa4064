import { copyFileSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import { dirname, join } from 'node:path'
import { file } from './processes.ts'

/**
 * The sources as JavaScript, as a package has them: Node needs no stripper of types for it, which takes memory in each
 * thread. Returns the path of its command.
 */
export function writeStripped(folder: string): string {
  const from = file('../src')
  for (const name of readdirSync(from, { recursive: true, encoding: 'utf8' })) {
    if (!name.endsWith('.ts')) continue
    const to = join(folder, 'src', name.replace(/\.ts$/, '.js'))
    mkdirSync(dirname(to), { recursive: true })
    const code = stripTypeScriptTypes(readFileSync(join(from, name), 'utf8'))
    writeFileSync(to, code.replace(/'(\.{1,2}\/[^'\n]*)\.ts'/g, "'$1.js'"))
  }
  copyFileSync(file('../package.json'), join(folder, 'package.json'))
  symlinkSync(file('../node_modules'), join(folder, 'node_modules'))
  return join(folder, 'src', 'main.js')
}
