// Writes docs/policy-examples.md, out of the `example.yaml` of each rule family.
//   node tools/policy-examples.ts
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const RULES = fileURLToPath(new URL('../rego/mcp/rules', import.meta.url))
const PAGE = fileURLToPath(new URL('../docs/policy-examples.md', import.meta.url))

const HEAD = `# Examples of each rule family

What a team writes below \`config\`, and canaries that hold with it: questions with the answers that they get. Each is the \`example.yaml\` in the folder of its family. \`npm run test:rego\` asks them of OPA, \`test/docs-policy.test.ts\` of the default bundle in WebAssembly. In a folder of your own, as \`config/data.yaml\`, \`mcp-opa-sidecar build\` asks the canaries before it writes a bundle, and a sidecar before it takes one. [policy.md](policy.md) has all keys; this page is written by \`node tools/policy-examples.ts\`.
`

/** By family, in order: the text of its example as it stands below \`config\`. */
export function examples(): { family: string; title: string; yaml: string }[] {
  return readdirSync(RULES)
    .filter((family) => existsSync(`${RULES}/${family}/example.yaml`))
    .sort()
    .map((family) => {
      const title =
        /^# title: (.*)$/m.exec(readFileSync(`${RULES}/${family}/${family}.rego`, 'utf8'))?.[1] ?? family
      const [first, ...lines] = readFileSync(`${RULES}/${family}/example.yaml`, 'utf8').split('\n')
      if (first !== 'example:') throw new Error(`${family}: example.yaml does not begin with "example:"`)
      return { family, title, yaml: lines.map((line) => line.replace(/^ {2}/, '')).join('\n') }
    })
}

export const page = (): string =>
  HEAD +
  examples()
    .map(
      ({ family, title, yaml }) =>
        `\n## ${title}\n\n\`rego/mcp/rules/${family}\`\n\n\`\`\`yaml\n${yaml}\`\`\`\n`,
    )
    .join('')

if (import.meta.main) writeFileSync(PAGE, page())
