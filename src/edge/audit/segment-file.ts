import { fdatasyncSync, fstatSync, ftruncateSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { syncFolder } from './files.ts'
import { segmentName } from './segments.ts'

/**
 * A file of the log, with the number of its first line. `head`: whether that line says what was before the file; undefined
 * until it is read.
 */
export type LogFile = { first: number; path: string; bytes: number; head?: boolean }
/** The file that is written. `opened`: milliseconds since the epoch. */
export type OpenFile = LogFile & { fd: number; opened: number }

export function createFile(folder: string, first: number, opened: number): OpenFile {
  const path = join(folder, segmentName(first))
  const fd = openSync(path, 'wx+', 0o600)
  syncFolder(folder)
  return { first, path, fd, bytes: 0, opened }
}

/** @param file as far as it is of the log */
export function reopenFile({ first, path, bytes }: LogFile, opened: number): OpenFile {
  const fd = openSync(path, 'r+')
  // Of a write that was broken off.
  if (fstatSync(fd).size > bytes) ftruncateSync(fd, bytes)
  // A process that was killed left its last lines with the kernel.
  fdatasyncSync(fd)
  return { first, path, fd, bytes, opened }
}

export type Appended =
  | { ok: true }
  /** `left` in the file: nothing; a part that cannot be taken out; or what another process has written there */
  | { ok: false; why: string; left: 'nothing' | 'part' | 'foreign' }

/** All of it, or nothing if that can be had. */
export function appendTo(file: OpenFile, bytes: Buffer): Appended {
  let at = 0
  try {
    if (fstatSync(file.fd).size !== file.bytes)
      return { ok: false, why: `another process writes ${file.path}`, left: 'foreign' }
    while (at < bytes.length) at += writeSync(file.fd, bytes, at, bytes.length - at, file.bytes + at)
  } catch (failure) {
    return { ok: false, why: (failure as Error).message, left: at > 0 && !cut(file) ? 'part' : 'nothing' }
  }
  file.bytes += bytes.length
  return { ok: true }
}

function cut({ fd, bytes }: OpenFile): boolean {
  try {
    ftruncateSync(fd, bytes)
    return true
  } catch {
    return false
  }
}
