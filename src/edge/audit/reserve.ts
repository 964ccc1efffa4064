import { closeSync, openSync, rmSync, statfsSync, statSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'

/** A file of zeros whose room is given back when the disk is full, for the records of what is refused then. */
export type Reserve = {
  /** whether the room is set aside */
  there: () => boolean
  /** gives the room back to the disk */
  spend: () => void
  /** sets it aside again if there is room for it and `more` bytes */
  restore: (more: number) => boolean
  remove: () => void
}

const CHUNK = Buffer.alloc(64 << 10)

export function createReserve(path: string, bytes: number): Reserve {
  let kept = false
  /** On a disk that cannot be written it stays, and what is to be recorded fails for that reason. */
  const remove = () => {
    try {
      rmSync(path, { force: true })
    } catch {}
  }
  const fill = (): boolean => {
    let fd: number | undefined
    try {
      fd = openSync(path, 'w', 0o600)
      // Written, not only made longer: a hole takes no room.
      for (let at = 0; at < bytes; ) at += writeSync(fd, CHUNK, 0, Math.min(CHUNK.length, bytes - at))
      return statSync(path).size === bytes
    } catch {
      remove()
      return false
    } finally {
      if (fd !== undefined) closeSync(fd)
    }
  }
  const restore = (more: number): boolean => {
    if (kept || bytes === 0) return true
    const { bavail, bsize } = statfsSync(dirname(path))
    if (bavail * bsize < bytes + more + bsize) return false
    kept = fill()
    return kept
  }
  return {
    there: () => kept || bytes === 0,
    spend() {
      if (kept) remove()
      kept = false
    },
    restore,
    remove,
  }
}
