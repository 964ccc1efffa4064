import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'
import { LongestFirst } from './tools/longest-first.ts'

// The threads and programs that tests start need not strip types and compile packages each time. Where the program has
// its own, as it is the same code.
process.env.NODE_COMPILE_CACHE ??= fileURLToPath(
  new URL('node_modules/.cache/mcp-opa-sidecar', import.meta.url),
)

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // These need a container engine and have a command of their own: npm run test:containers.
    exclude: ['test/containers/**'],
    testTimeout: 20_000,
    hookTimeout: 60_000,
    // Two cores are the smallest machine; real servers and threads share them. A file waits for a third of its time, for
    // processes that start and for the clocks of protocols and of the kernel.
    maxWorkers: 3,
    sequence: { sequencer: LongestFirst },
    // CI asks once more of what failed on its busy machine, and says so (tools/retried.ts).
    retry: Number(process.env.TEST_RETRIES ?? 0),
  },
})
