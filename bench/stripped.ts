import { copyFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { writeDist } from '../tools/dist.ts'
import { file } from './processes.ts'

/**
 * The sources as JavaScript, as a package has them: Node needs no stripper of types for it, which takes memory in each
 * thread. Returns the path of its command.
 */
export function writeStripped(folder: string): string {
  writeDist(join(folder, 'dist'))
  copyFileSync(file('../package.json'), join(folder, 'package.json'))
  symlinkSync(file('../node_modules'), join(folder, 'node_modules'))
  return join(folder, 'dist', 'main.js')
}
