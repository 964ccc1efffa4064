import { constants, copyFileSync, linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'

const ATTEMPTS = 5

/**
 * Takes a lock file for this process. One whose process is gone is taken over; so is one of another machine or of
 * another pid namespace, as nothing here can tell whether its process lives.
 * @returns how to give it back
 * @throws Error that names the process which holds it
 */
export function takeLock(path: string): () => void {
  const mine = `${path}.${process.pid}`
  const mark = markOf(process.pid) ?? String(process.pid)
  // Linked with its text in it, so that nobody reads a lock that is not written yet.
  writeFileSync(mine, mark, { mode: 0o600 })
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (linked(mine, path)) return () => release(path, mark)
      const held = textOf(path)
      if (held === undefined) continue
      const pid = Number.parseInt(held, 10)
      if (lives(pid, held)) throw new Error(`${path}: this folder is written by process ${pid}`)
      removeStale(path, held)
    }
    throw new Error(`${path}: cannot be locked, others take it again and again`)
  } finally {
    rmSync(mine, { force: true })
  }
}

/** A pid is given out again, and a restarted container has the same ones: the start of the process is part of its name. */
function markOf(pid: number): string | undefined {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The name of the program is in parentheses and may hold anything; the state is field 3, the start field 22.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined
    return `${pid} ${boot} ${fields[19]}`
  } catch {
    return undefined
  }
}

function lives(pid: number, held: string): boolean {
  if (!(pid > 0)) return false
  if (markOf(process.pid) !== undefined) return markOf(pid) === held
  // No /proc here. Our own pid in a lock is that of a process before us.
  if (pid === process.pid) return false
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

function linked(from: string, to: string): boolean {
  try {
    try {
      linkSync(from, to)
    } catch (error) {
      if (isThere(error)) return false
      // A volume without hard links.
      copyFileSync(from, to, constants.COPYFILE_EXCL)
    }
    return true
  } catch (error) {
    if (isThere(error)) return false
    throw error
  }
}

const isThere = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'EEXIST'

/** Moved away first: if another process took the stale lock over in between, this one is its, and goes back. */
function removeStale(path: string, stale: string): void {
  const away = `${path}.${process.pid}.stale`
  try {
    renameSync(path, away)
  } catch {
    return
  }
  if (textOf(away) !== stale) linked(away, path)
  rmSync(away, { force: true })
}

function release(path: string, mark: string): void {
  if (textOf(path) === mark) rmSync(path, { force: true })
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
