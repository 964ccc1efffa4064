import { existsSync } from 'node:fs'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/**
 * Files that take the longest: the last to end should be a short one. What must not wait too long under load begins
 * beside those that only wait.
 */
const LONGEST = [
  'tools/faults',
  'edge/judge/keys',
  'edge/http/long-life',
  'edge/http/vanished',
  'e2e/matrix',
  'conformance/clients',
  'e2e/stdio',
  'commands/policy',
  'docs-policy-repository',
  'conformance/conformance',
  'e2e/clients',
]

for (const name of LONGEST)
  if (!existsSync(new URL(`../test/${name}.test.ts`, import.meta.url)))
    throw new Error(`tools/longest-first.ts names ${name}, which is not there`)

/** The order of a machine that has not run the tests before would be that of the files' sizes. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification) => {
      const at = LONGEST.findIndex((name) => moduleId.endsWith(`/test/${name}.test.ts`))
      return at < 0 ? LONGEST.length : at
    }
    return (await super.sort(files)).sort((a, b) => place(a) - place(b))
  }
}
