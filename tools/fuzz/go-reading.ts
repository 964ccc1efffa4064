// Differential: what this project accepts, Go's encoding/json and the MCP Go SDK must read as the same message.
import { execFile, spawn } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual, promisify } from 'node:util'
import { readMessage } from '../../src/mcp/message.ts'
import { isObject, parseStrictBytes } from '../../src/mcp/strict-json.ts'
import { MESSAGES, WORDS } from './parsers.ts'
import { hold, type Target } from './target.ts'

const run = promisify(execFile)
const here = fileURLToPath(new URL('go', import.meta.url))
const binary = join(dirname(dirname(dirname(here))), '.cache', 'fuzz', 'go-reading')

type Reading = {
  ok: boolean
  method: string
  params: { name: string; uri: string; arguments: unknown } | null
}

/** @throws Error that says what is missing */
export async function goReading(): Promise<Target> {
  mkdirSync(dirname(binary), { recursive: true })
  await run('go', ['build', '-o', binary, '.'], { cwd: here, timeout: 240_000 })
  const child = spawn(binary, { stdio: ['pipe', 'pipe', 'inherit'] })
  let asked = 0
  const waiting: ((line: string) => void)[] = []
  createInterface({ input: child.stdout }).on('line', (line) => waiting.shift()?.(line))
  const ask = (input: Buffer) =>
    new Promise<{ std: Reading; sdk: Reading }>((resolve) => {
      waiting.push((line) => resolve(JSON.parse(line)))
      child.stdin.write(`${input.toString('base64')}\n`)
    })
  return {
    name: 'go-reading',
    seeds: MESSAGES,
    words: WORDS,
    async check(input) {
      const read = parseStrictBytes(input)
      const found = read.ok ? readMessage(read.value) : undefined
      if (!found?.ok || found.message.kind === 'response') return
      const { method, params } = found.message
      const { name, uri } = params
      // Go refuses members of another type, which is no other reading.
      const typed = (value: unknown) => value === undefined || typeof value === 'string'
      if (!typed(name) || !typed(uri) || !(params.arguments === undefined || isObject(params.arguments)))
        return
      asked++
      const answers = await ask(input)
      for (const [who, answer] of Object.entries(answers)) {
        hold(answer.ok, `${who} does not read what is accepted`)
        hold(answer.method === method, `${who} reads another method`)
        hold((answer.params?.name ?? '') === (name ?? ''), `${who} reads another name`)
        hold((answer.params?.uri ?? '') === (uri ?? ''), `${who} reads another uri`)
        const theirs = answer.params?.arguments ?? {}
        hold(isDeepStrictEqual(plain(theirs), plain(params.arguments ?? {})), `${who} reads other arguments`)
      }
    },
    close: async () => {
      child.kill()
      hold(asked > 0, 'nothing was accepted, so nothing was compared')
    },
  }
}

/** Without -0, which JSON writers spell 0. */
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value))
