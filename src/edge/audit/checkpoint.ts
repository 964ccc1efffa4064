import type { KeyObject } from 'node:crypto'
import { verifierKey, writeNote } from '../../log/note.ts'

export type CheckpointKey = { key: KeyObject; origin: string }

/** One log, one name: the checkpoints of replicas with the same key are not of one tree. */
const signerOf = ({ key, origin }: CheckpointKey, id: string) => ({ name: `${origin}/${id}`, key })

export const signWith = (given: CheckpointKey) => (id: string, size: number, root: Buffer) =>
  writeNote(signerOf(given, id), size, root)

/** What checks the checkpoints of a log, for `verify --key` and for Go's `note.NewVerifier`. */
export const verifierOf = (given: CheckpointKey, id: string): string => verifierKey(signerOf(given, id))
