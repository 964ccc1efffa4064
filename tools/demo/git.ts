// Commits and branches in memory: whole trees, merged by whole files. What GitHub would refuse is a Refusal.
import { createHash } from 'node:crypto'

/** What GitHub answers instead of doing it, with its status. */
export class Refusal extends Error {
  readonly status: number
  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

export type Files = ReadonlyMap<string, string>
type Commit = { sha: string; message: string; author: string; date: string; parents: string[]; files: Files }
type Change = { path: string; content?: string }

const sha1 = (text: string) => createHash('sha1').update(text).digest('hex')
/** Git's own name for a file's content. */
export const blobSha = (content: string) => sha1(`blob ${Buffer.byteLength(content)}\0${content}`)

/** Three-way merge by whole files; undefined when both sides changed one differently. */
const combine = (root: Files, ours: Files, theirs: Files): Files | undefined => {
  const files = new Map(ours)
  for (const path of new Set([...root.keys(), ...theirs.keys()])) {
    const [was, mine, his] = [root.get(path), ours.get(path), theirs.get(path)]
    if (his === was || his === mine) continue
    if (mine !== was) return undefined
    if (his === undefined) files.delete(path)
    else files.set(path, his)
  }
  return files
}

export const createGit = (now: () => Date, login: string) => {
  const commits = new Map<string, Commit>()
  const branches = new Map<string, string>()

  const commit = (
    branch: string,
    message: string,
    files: Files,
    parents: string[],
    author = login,
  ): Commit => {
    const sha = sha1(JSON.stringify([commits.size, message, parents, [...files]]))
    const made = { sha, message, author, date: now().toISOString(), parents, files }
    commits.set(sha, made)
    branches.set(branch, sha)
    return made
  }

  const tip = (branch: string): Commit => {
    const sha = branches.get(branch)
    if (sha === undefined) throw new Refusal(404, `Branch not found: ${branch}`)
    return commits.get(sha)!
  }

  /** A commit by its SHA, its branch or `refs/heads/…`. */
  const at = (ref = 'main'): Commit => commits.get(ref) ?? tip(ref.replace(/^refs\/heads\//, ''))

  const ancestors = (from: Commit): Set<string> => {
    const seen = new Set([from.sha])
    for (const sha of seen) for (const parent of commits.get(sha)!.parents) seen.add(parent)
    return seen
  }

  return {
    branches,
    commit,
    tip,
    at,
    contains: (branch: string, other: string) => ancestors(tip(branch)).has(tip(other).sha),
    log: (ref?: string) => {
      const reach = ancestors(at(ref))
      return [...commits.values()].reverse().filter(({ sha }) => reach.has(sha))
    },
    branch: (name: string, from?: string): Commit => {
      if (branches.has(name)) throw new Refusal(422, 'Reference already exists')
      const start = at(from)
      branches.set(name, start.sha)
      return start
    },
    /** One commit on a branch; a change without content deletes. */
    write: (branch: string, message: string, changes: Change[], author?: string): Commit => {
      const head = tip(branch)
      const files = new Map(head.files)
      for (const { path, content } of changes) {
        if (content === undefined) files.delete(path)
        else files.set(path, content)
      }
      return commit(branch, message, files, [head.sha], author)
    },
    merge: (into: string, from: string, message: string, linear = false): Commit => {
      const [ours, theirs] = [tip(into), tip(from)]
      const mine = ancestors(ours)
      const root = [...ancestors(theirs)].find((sha) => mine.has(sha))!
      const files = combine(commits.get(root)!.files, ours.files, theirs.files)
      if (!files) throw new Refusal(405, 'Pull Request is not mergeable')
      return commit(into, message, files, linear ? [ours.sha] : [ours.sha, theirs.sha])
    },
  }
}
