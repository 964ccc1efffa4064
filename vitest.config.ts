import { defineConfig } from 'vitest/config'

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
