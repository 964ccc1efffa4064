import { type Replayed, replayTests } from '../edge/bundles/replay.ts'
import { opaOf, POLICY_OPTIONS, POLICY_USAGE, policyOf, saying } from './build.ts'
import type { Command } from './command.ts'

export const command: Command = {
  usage: `Usage: mcp-opa-sidecar test [OPTIONS] FOLDER...

Runs the tests of the folders by \`opa test\`, with the library, then each test again in WebAssembly, as the sidecar
evaluates. Where the two do not say the same, that is a failure, too.

A test rule is compiled as it stands, also one that replaces a function or a builtin (\`with f as g\`). The time is
\`input.time_ms\` of the test's own input, and \`print\` prints nothing there.

Options:
  -v, --verbose                every test, not only those that fail or differ
      --format pretty|json     (default pretty)
${POLICY_USAGE}`,
  positionals: 64,
  options: {
    ...POLICY_OPTIONS,
    verbose: { type: 'boolean', short: 'v' },
    format: { type: 'string' },
  },
  async run(words, terminal) {
    const { folders, library, capabilities } = policyOf(words)
    return saying(terminal, async () => {
      const opa = await opaOf(words, terminal)
      const tests = await replayTests(opa, { folders, library }, capabilities)
      const bad = tests.filter((test) => isBad(test))
      if (words.values.format === 'json') terminal.stdout.write(`${JSON.stringify(tests, undefined, 2)}\n`)
      else terminal.stdout.write(table(tests, words.values.verbose ? tests : bad))
      return bad.length === 0 ? 0 : 1
    })
  },
}

const isBad = ({ opa, wasm }: Replayed): boolean => opa !== wasm || opa === 'fail' || opa === 'error'

function table(all: Replayed[], shown: Replayed[]): string {
  const count = (of: (test: Replayed) => boolean) => all.filter(of).length
  const width = Math.max(4, ...shown.map(({ name }) => name.length))
  const rows = shown.map(
    ({ name, opa, wasm, why }) =>
      `${name.padEnd(width)}  ${opa.padEnd(5)}  ${wasm.padEnd(5)}${opa === wasm ? '' : '  DIFFERENT'}${why ? `  ${why}` : ''}\n`,
  )
  const head = shown.length === 0 ? '' : `${'test'.padEnd(width)}  opa    wasm\n`
  const skipped = count(({ opa }) => opa === 'skip')
  return `${head}${rows.join('')}${all.length} tests, ${count(({ opa }) => opa === 'pass')} pass in opa, ${count(
    ({ wasm }) => wasm === 'pass',
  )} in WebAssembly, ${skipped} skipped, ${count(({ opa, wasm }) => opa !== wasm)} different\n`
}
