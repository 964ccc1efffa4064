import { readFileSync } from 'node:fs'
import { type Inclusion, type Verified, verifyLog } from '../edge/audit/verify.ts'
import { isSigned, readNote, readVerifier } from '../log/note.ts'
import { type Command, type Words, WrongUse } from './command.ts'
import { folderOf, RECORD_OPTIONS, RECORD_USAGE } from './record.ts'

export const command: Command = {
  usage: `Usage: mcp-opa-sidecar verify FOLDER [--key KEY] [--checkpoint FILE] [--inclusion DECISION_ID]

Says whether the record in a folder is what was written: the first record that was altered, removed,
inserted or moved, and where. Works on the record of a process that runs, and of one that is gone.
${RECORD_USAGE}
Options:
      --key KEY                  the public key of its checkpoints: a file in PEM, or a verifier key name+id+key;
                                 without it, whoever can write the folder can write it anew
      --checkpoint FILE          a checkpoint that was kept elsewhere: the log must go on from it
      --inclusion DECISION_ID    proves that the first record of this decision is in the tree of the last checkpoint
      --json                     the result as one JSON object
  -c, --config-file FILE         takes the folder from a configuration

Exit codes: 0 it is what was written, 1 it is not, 64 wrong use.
`,
  options: {
    ...RECORD_OPTIONS,
    key: { type: 'string' },
    checkpoint: { type: 'string' },
    inclusion: { type: 'string' },
    json: { type: 'boolean' },
  },
  positionals: 1,
  async run(words, terminal) {
    const { stdout } = terminal
    const folder = folderOf(words.positionals[0], words, terminal)
    const verifier = keyOf(words)
    const { inclusion } = words.values as { inclusion?: string }
    const result = verifyLog(folder, { verifier, older: olderOf(words, verifier), decision: inclusion })
    const unsigned = verifier !== undefined && result.fault === undefined && result.signed === 0
    if (words.values.json)
      stdout.write(`${JSON.stringify({ ok: !result.fault && !unsigned, ...result }, asText)}\n`)
    else stdout.write(`${say(result, verifier !== undefined)}\n`)
    return result.fault || unsigned ? 1 : 0
  },
}

const asText = (_key: string, value: unknown) =>
  typeof value === 'object' && value !== null && 'type' in value && value.type === 'Buffer' && 'data' in value
    ? Buffer.from(value.data as number[]).toString('base64')
    : value

function keyOf({ values }: Words) {
  const given = values.key as string | undefined
  if (given === undefined) return undefined
  const read = readVerifier(given) ?? readVerifier(textOf(given, '--key'))
  if (!read) throw new WrongUse('--key must be an Ed25519 public key in PEM, or a verifier key name+id+key')
  return read
}

function olderOf({ values }: Words, verifier: ReturnType<typeof keyOf>) {
  const path = values.checkpoint as string | undefined
  if (path === undefined) return undefined
  const note = textOf(path, '--checkpoint')
  const read = readNote(note)
  if (!read) throw new WrongUse(`--checkpoint: ${path} is no checkpoint (origin, size, root, signature)`)
  if (verifier && !isSigned(note, verifier))
    throw new WrongUse(`--checkpoint: ${path} is not signed with this key`)
  return read
}

function textOf(path: string, option: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new WrongUse(`${option}: ${(error as Error).message}`)
  }
}

function say(result: Verified, keyed: boolean): string {
  const { fault, first, last, torn, checkpoints, signed, covered, older, inclusion } = result
  if (fault) return `NOT what was written: record ${fault.seq}: ${fault.why}\n  ${fault.file}`
  const lines = [`records ${first} to ${last} are what was written, each after the one before it`]
  if (first > 1) lines.push(`records before ${first} were deleted; the tree of them is in the first file`)
  if (torn > 0) lines.push(`the last ${torn} bytes are of a record that is not whole (yet)`)
  if (!keyed)
    lines.push(
      `${checkpoints} checkpoints agree; no --key was given, so whoever could write the folder could have written all of it anew`,
    )
  else if (signed === 0) lines.push('NOT proven: no checkpoint is signed')
  else
    lines.push(
      `${signed} signed checkpoints agree; they cover records up to ${covered}, and ${last - covered} after it are not covered yet`,
    )
  if (older === 'consistent') lines.push('the log goes on from the older checkpoint')
  if (older === 'deleted')
    lines.push('the older checkpoint is of records that were all deleted since: it cannot be compared')
  if (inclusion) lines.push(...proofOf(inclusion))
  return lines.join('\n')
}

const proofOf = ({ seq, leaf, index, size, root, path }: Inclusion): string[] => [
  `record ${seq} is in the tree of ${size} records:`,
  `  leaf ${index} ${leaf.toString('base64')}`,
  ...path.map((hash) => `  with ${hash.toString('base64')}`),
  `  root ${root.toString('base64')}`,
]
