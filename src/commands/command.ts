import type { Readable, Writable } from 'node:stream'
import type { ParseArgsOptionsConfig } from 'node:util'

/** What a command sees of the process; `main.ts` alone reads it. */
export type Terminal = {
  stdin: Readable
  stdout: Writable
  stderr: Writable
  /** the descriptor of stderr, for logs that must be written before the process ends */
  stderrFd: number
  env: Record<string, string | undefined>
  version: string
  on: (
    event: 'SIGTERM' | 'SIGINT' | 'SIGUSR1' | 'uncaughtException' | 'unhandledRejection',
    does: (what: unknown) => void,
  ) => void
  exit: (code: number) => never
}

/** The words and options of one use of a command, as `parseArgs` reads them. */
export type Words = {
  positionals: string[]
  values: Record<string, string | boolean | string[] | undefined>
}

export type Command = {
  /** all of `mcp-opa-sidecar NAME --help` */
  usage: string
  options: ParseArgsOptionsConfig
  /** words that may follow the name; more are wrong use */
  positionals?: number
  /** @returns the exit code; undefined for one that goes on until it is stopped */
  run: (words: Words, terminal: Terminal) => Promise<number | undefined>
}

export const WRONG_USE = 64

/** How a command was used is wrong; the text says what to do. Exit code 64. */
export class WrongUse extends Error {
  override name = 'WrongUse'
}
