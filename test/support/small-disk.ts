import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll } from 'vitest'

const run = promisify(execFile)

/**
 * A filesystem of few pages, where this machine lets us mount one: `missing` says why not, once, loudly.
 * @param size e.g. 128k; more options of tmpfs may follow it
 */
export async function smallDisk(size: string): Promise<{
  folder: string
  missing: string | undefined
  resize: (size: string) => Promise<unknown>
}> {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-small-'))
  const missing = await run('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', folder]).then(
    () => undefined,
    (error: Error) => {
      console.warn(
        `SKIPPED: a full disk is made with a small tmpfs, and it cannot be mounted here: ${error.message}`,
      )
      return error.message
    },
  )
  // Not in the test, which may be left out of a run.
  afterAll(async () => {
    if (!missing) await run('umount', ['-l', folder])
    rmSync(folder, { recursive: true })
  })
  return { folder, missing, resize: (to) => run('mount', ['-o', `remount,size=${to}`, folder]) }
}
