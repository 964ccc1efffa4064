// What one expression of Rego costs in WebAssembly: the table of docs/policy-style.md.
//   node bench/costs.ts [--only WORD]
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import { loadPolicyFiles } from '../src/edge/judge/bundle.ts'
import { createEvaluator } from '../src/edge/judge/evaluator.ts'
import { opaPath } from '../tools/opa.ts'

const { values } = parseArgs({ options: { only: { type: 'string' } } })

/** Each holds for the input below; `rules` are further rules of the module. */
type Expression = { name: string; body: string; rules?: string }

const names = (count: number) => Array.from({ length: count }, (_, i) => `"name-${i}"`).join(', ')

const EXPRESSIONS: Expression[] = [
  { name: 'nothing: the call, the input and the answer', body: 'true' },
  { name: '`input.tool.name == "merge"`', body: 'input.tool.name == "name-99"' },
  { name: 'a key of an object of 100 in data', body: 'data.table[input.tool.name]' },
  { name: 'a key of an object of 10,000 in data', body: 'data.users[input.user]' },
  { name: '`in` an array of 100 in data', body: 'input.tool.name in data.list' },
  { name: '`in` a set of 100 written in the rule', body: `input.tool.name in {${names(100)}}` },
  { name: '`in` a set of 10 written in the rule', body: `input.five in {${names(10)}}` },
  {
    name: 'ten heads of a function, the last holds',
    body: 'f(input.nine)',
    rules: Array.from({ length: 10 }, (_, i) => `f("name-${i}")`).join('\n'),
  },
  { name: 'a set out of an array of 100 in data', body: 'input.tool.name in {n | some n in data.list}' },
  { name: '`every` over 10 keys of an object', body: 'every _, v in input.ten { is_number(v) }' },
  {
    name: '`object.union` of two objects of 3 keys',
    body: 'object.union(data.three, {"x": 1, "y": 2, "z": 3})',
  },
  { name: '`object.remove` of 10 keys', body: 'object.remove(input.ten, data.ten) == {}' },
  { name: '`walk` over an object of 10 keys', body: 'count([p | walk(input.ten, [p, _])]) > 0' },
  { name: '`startswith`, 40 characters', body: 'startswith(input.branch, "feature/")' },
  { name: '`lower`, 40 characters', body: 'lower(input.branch) != ""' },
  { name: '`split`, 40 characters, 3 parts', body: 'count(split(input.branch, "/")) == 3' },
  { name: '`contains`, 40 characters', body: 'not contains(input.branch, "..")' },
  {
    name: '`trim` as a test of characters',
    body: 'trim(input.branch, "abcdefghijklmnopqrstuvwxyz0123456789-/") == ""',
  },
  { name: '`concat` of three', body: 'concat("/", [input.branch, input.user, "x"]) != ""' },
  {
    name: '`sprintf` of three (the host answers)',
    body: 'sprintf("%s/%s/%s", [input.branch, input.user, "x"]) != ""',
  },
  { name: '`regex.match`, `^feature/`', body: 'regex.match(`^feature/`, input.branch)' },
  { name: '`regex.match`, a class with `+`', body: 'regex.match(`^[a-z0-9/-]+$`, input.branch)' },
  { name: '`regex.match`, a class with `{1,80}`', body: 'regex.match(`^[a-z0-9/-]{1,80}$`, input.branch)' },
  { name: '`glob.match`', body: 'glob.match("feature/**", ["/"], input.branch)' },
  { name: '`sort` of three objects', body: 'count(sort(data.reasons)) == 3' },
  {
    name: 'a reason from `rego.metadata.rule()`',
    body: 'made.code == "a_code"',
    rules:
      '# METADATA\n# title: t\n# custom:\n#   code: a_code\n#   help: h\nmade := reason(rego.metadata.rule())\n\nreason(rule) := object.union({"code": rule.custom.code}, object.filter(rule.custom, ["help", "severity"]))',
  },
  { name: 'a loop over 100 objects in data', body: 'some g in data.grants; input.user in g.users' },
  {
    name: 'a loop that has `user := input.user` before it',
    body: 'user := input.user; some g in data.grants; user in g.users',
  },
  {
    name: 'a set out of two arrays of 50, by the union of two',
    body: 'both["name-99"]',
    rules: 'both := {n | some n in data.first} | {n | some n in data.second}',
  },
  {
    name: 'a set out of two arrays of 50, by a rule with two definitions',
    body: 'both["name-99"]',
    rules: 'both contains n if some n in data.first\n\nboth contains n if some n in data.second',
  },
]

const list = Array.from({ length: 100 }, (_, i) => `name-${i}`)
const data = {
  list,
  first: list.slice(0, 50),
  second: list.slice(50),
  table: Object.fromEntries(list.map((name) => [name, true])),
  users: Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`user-${i}`, { groups: ['a'] }])),
  three: { a: 1, b: 2, c: 3 },
  ten: Array.from({ length: 10 }, (_, i) => `k${i}`),
  reasons: ['c', 'a', 'b'].map((code) => ({ code, title: 'A title' })),
  grants: Array.from({ length: 100 }, (_, i) => ({
    id: `g${i}`,
    users: [i === 99 ? 'user-7777' : `user-${i}`],
  })),
}
const input = {
  tool: { name: 'name-99' },
  five: 'name-5',
  nine: 'name-9',
  user: 'user-7777',
  branch: 'feature/the-long-name/of-a-branch-of-40',
  ten: Object.fromEntries(data.ten.map((key, i) => [key, i])),
}

const wanted = EXPRESSIONS.filter(({ name }, i) => i === 0 || !values.only || name.includes(values.only))
const folder = mkdtempSync(join(tmpdir(), 'mcp-opa-sidecar-costs-'))
process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
for (const [i, { body, rules = '' }] of wanted.entries()) {
  writeFileSync(
    join(folder, `m${i}.rego`),
    `package m${i}\n\n# METADATA\n# entrypoint: true\nfound if {\n  ${body}\n}\n\n${rules}\n`,
  )
}
writeFileSync(
  join(folder, 'main.rego'),
  'package mcp.main\n\n# METADATA\n# entrypoint: true\n# scope: document\n# custom:\n#   contract: 1\ndecision := {"allow": false, "reasons": []}\n\n# METADATA\n# entrypoint: true\n# scope: document\nvisible := {}\n',
)
writeFileSync(join(folder, 'data.json'), JSON.stringify(data))
const bundle = join(folder, 'bundle.tar.gz')
execFileSync(await opaPath(), ['build', '-t', 'wasm', '-o', bundle, folder], {
  stdio: ['ignore', 'ignore', 'inherit'],
})
const policy = await loadPolicyFiles({ costs: bundle }, 'mcp/main/decision')
const evaluator = createEvaluator(policy.module, JSON.parse(policy.data))

// The cases take turns, so that what else the machine does falls on all of them; the tenth percentile leaves it out.
const ROUNDS = 40
const ONCE = 250
const times = wanted.map((): number[] => [])
for (let round = 0; round < ROUNDS; round++) {
  for (const [i, { name }] of wanted.entries()) {
    const entrypoint = `m${i}/found`
    if (JSON.stringify(evaluator.evaluate(entrypoint, input)) !== '[{"result":true}]')
      throw new Error(`${name} does not hold`)
    const start = performance.now()
    for (let n = 0; n < ONCE; n++) evaluator.evaluate(entrypoint, input)
    if (round > 4) times[i]?.push(((performance.now() - start) * 1000) / ONCE)
  }
}
const p10 = times.map((found) => found.sort((a, b) => a - b)[Math.floor(found.length / 10)] as number)
const floor = p10[0] as number
process.stdout.write('| expression | µs |\n| --- | ---: |\n')
for (const [i, { name }] of wanted.entries()) {
  process.stdout.write(
    `| ${name} | ${i === 0 ? floor.toFixed(1) : `+${Math.max(0, (p10[i] as number) - floor).toFixed(1)}`} |\n`,
  )
}
