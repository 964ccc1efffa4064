// Fuzzes what reads hostile input: npm run fuzz -- [--seconds N for each] [--target NAME] [--seed N]
// What is found is saved in tools/fuzz/corpus/<target>/ and tried first ever after.
import { parseArgs } from 'node:util'
import { goReading } from './go-reading.ts'
import { http } from './http.ts'
import * as parsers from './parsers.ts'
import { fuzz } from './run.ts'

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '10' },
    target: { type: 'string' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 32) },
  },
})
const { json, message, sse, jwt, configuration, bundle } = parsers
const targets = { json, message, sse, jwt, configuration, bundle, http, 'go-reading': goReading }

let bad = false
for (const [name, target] of Object.entries(targets)) {
  if (values.target !== undefined && values.target !== name) continue
  let opened: typeof json
  try {
    opened = typeof target === 'function' ? await target() : target
  } catch (error) {
    if (name !== 'go-reading') throw error
    process.stdout.write(
      `${name}: SKIPPED, it is built with Go: ${(error as Error).message.split('\n')[0]}\n`,
    )
    continue
  }
  const { inputs, findings } = await fuzz(opened, Number(values.seconds), Number(values.seed))
  process.stdout.write(`${name}: ${inputs} inputs, ${findings.length} findings (seed ${values.seed})\n`)
  for (const { what, file } of findings) process.stdout.write(`  ${what} ${file}\n`)
  bad ||= findings.length > 0
}
process.exitCode = bad ? 1 : 0
