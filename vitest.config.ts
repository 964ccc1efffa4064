import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

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
    // Two cores are the smallest machine; real servers and threads share them.
    maxWorkers: 2,
    // CI asks once more of what failed on its busy machine, and says so (tools/retried.ts).
    retry: Number(process.env.TEST_RETRIES ?? 0),
  },
})
