// A reporter that says which tests passed only when they were asked once more.
import type { Reporter, TestCase } from 'vitest/node'

export default class Retried implements Reporter {
  onTestCaseResult(test: TestCase): void {
    if (test.diagnostic()?.flaky)
      process.stdout.write(`RETRIED, and passed then: ${test.module.relativeModuleId} > ${test.fullName}\n`)
  }
}
