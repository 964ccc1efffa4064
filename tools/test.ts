// Everything that must hold, in one command: types, lint, the policy, then unit, edge and end-to-end tests.
//   npm test
// A part that cannot run for want of something on this machine says so, and is counted as skipped.
import { spawn } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const checkout = fileURLToPath(new URL('..', import.meta.url))
const bin = (name: string) => join(checkout, 'node_modules', '.bin', name)
const results = join(checkout, '.cache', 'vitest.json')

const run = (title: string, command: string, args: string[]) =>
  new Promise<boolean>((resolve) => {
    process.stdout.write(`\n== ${title}\n`)
    const began = Date.now()
    spawn(command, args, { cwd: checkout, stdio: ['ignore', 'inherit', 'inherit'] })
      .once('error', (error) => {
        process.stdout.write(`${title}: ${error.message}\n`)
        resolve(false)
      })
      .once('exit', (code) => {
        process.stdout.write(
          `-- ${title}: ${code === 0 ? 'ok' : 'FAILED'} (${Math.round((Date.now() - began) / 1000)} s)\n`,
        )
        resolve(code === 0)
      })
  })

const parts: [string, string, string[]][] = [
  ['types', bin('tsc'), []],
  ['lint and format', bin('biome'), ['check', '--error-on-warnings', '.']],
  ['policy library', process.execPath, ['tools/rego.ts']],
  [
    'tests',
    bin('vitest'),
    [
      'run',
      '--reporter=default',
      '--reporter=./tools/retried.ts',
      '--reporter=json',
      `--outputFile.json=${results}`,
    ],
  ],
]

rmSync(results, { force: true })
const failed: string[] = []
for (const [title, command, args] of parts) if (!(await run(title, command, args))) failed.push(title)

type Counts = { numPassedTests: number; numFailedTests: number; numPendingTests: number }
const counts = readCounts()
process.stdout.write(failed.length > 0 ? `\nFAILED: ${failed.join(', ')}\n` : '\nEverything holds.\n')
process.stdout.write(
  `${counts.numPassedTests} passed, ${counts.numFailedTests} failed, ${counts.numPendingTests} skipped\n`,
)
process.exitCode = failed.length > 0 || counts.numPassedTests === 0 ? 1 : 0

function readCounts(): Counts {
  try {
    return JSON.parse(readFileSync(results, 'utf8')) as Counts
  } catch {
    return { numPassedTests: 0, numFailedTests: 0, numPendingTests: 0 }
  }
}
