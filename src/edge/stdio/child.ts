import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { createLineSplitter, oneLine } from './lines.ts'

export type ChildSettings = {
  command: string[]
  /** the whole environment of the child */
  env: Record<string, string>
  cwd?: string
  /** bytes of one message */
  messageLimit: number
  /** a line of the child's stderr */
  onStderr: (line: string) => void
}

export type Child = {
  /** False if it was ended because it does not read what it was told before. */
  tell: (text: string) => boolean
  end: () => void
  exited: Promise<unknown>
}

const KILL_AFTER = 2_000

/**
 * One process that speaks over its standard streams. Undefined if there is none to be had, e.g. no descriptor is left.
 * @param onEnd called once it is no use any more, for whatever reason but `end`
 */
export function startChild(
  settings: ChildSettings,
  onLine: (line: Buffer) => void,
  onEnd: () => void,
): Child | undefined {
  const child = launch(settings, onEnd)
  if (!child) return undefined
  const end = () => {
    child.stdin.end()
    child.kill('SIGTERM')
    setTimeout(() => child.kill('SIGKILL'), KILL_AFTER).unref()
  }
  const split = createLineSplitter(settings.messageLimit)
  child.stdout.on('data', (chunk: Buffer) => {
    const lines = split(chunk)
    if (lines === 'line_too_long') return onEnd()
    for (const line of lines) if (line.length > 0) onLine(line)
  })
  const splitErrors = createLineSplitter(64 << 10)
  child.stderr.on('data', (chunk: Buffer) => {
    const lines = splitErrors(chunk)
    if (Array.isArray(lines)) for (const line of lines) settings.onStderr(line.toString('utf8'))
  })
  // A write to a child that is gone: `exit` follows.
  child.stdin.on('error', () => undefined)
  return {
    tell(text) {
      if (child.stdin.writableLength > 2 * settings.messageLimit) {
        onEnd()
        return false
      }
      child.stdin.write(`${oneLine(text)}\n`)
      return true
    },
    end,
    exited: new Promise((resolve) => child.once('exit', resolve)),
  }
}

function launch({ command, env, cwd }: ChildSettings, onEnd: () => void) {
  const [program = '', ...args] = command
  try {
    const child: ChildProcessWithoutNullStreams = spawn(program, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      env,
      ...(cwd !== undefined && { cwd }),
    })
    // First of all: an error that nobody listens to would end this child.
    child.on('error', onEnd)
    child.once('exit', onEnd)
    // They are not there when the pipes could not be made, whatever the type says.
    return child.stdin && child.stdout && child.stderr ? child : undefined
  } catch {
    return undefined
  }
}
