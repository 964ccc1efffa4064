import { defineConfig } from 'vitest/config'

/** `npm run test:containers`: what needs a container engine, one file after the other. */
export default defineConfig({
  test: {
    include: ['test/containers/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 180_000,
    fileParallelism: false,
  },
})
