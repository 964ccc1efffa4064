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
  },
})
