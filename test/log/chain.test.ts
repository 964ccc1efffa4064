import { expect, test } from 'vitest'
import { createChain } from '../../src/log/chain.ts'
import { lifecycleEvent } from '../../src/log/event.ts'
import { createTree, leafHash } from '../../src/log/merkle.ts'

const line = (code: string) =>
  lifecycleEvent({ labels: {}, bundles: {} }, { decision_id: 'd', event_id: 'e', time_ms: 0 }, { code })
const empty = { size: 0, parts: [], last: undefined }
const linesOf = (bytes: Buffer) => bytes.toString('utf8').trimEnd().split('\n')

test('lines are numbered, and each has the hash of the one before it', () => {
  const chain = createChain(empty)
  const { bytes, last, taken } = chain.link(['a', 'b', 'c'].map(line))
  taken()
  const texts = linesOf(bytes)
  expect(texts.map((text) => JSON.parse(text).custom.seq)).toEqual([1, 2, 3])
  const hashes = texts.map((text) => leafHash(Buffer.from(text)))
  expect(texts.map((text) => JSON.parse(text).custom.prev)).toEqual([
    undefined,
    ...hashes.slice(0, 2).map((hash) => hash.toString('base64')),
  ])
  expect(last).toBe((texts[2] as string).length + 1)
  expect(chain.last()).toEqual(hashes[2])
  const tree = createTree()
  for (const hash of hashes) tree.append(hash)
  expect({ seq: chain.seq(), root: chain.root() }).toEqual({ seq: 3, root: tree.root() })
})

test('lines that were not written leave no trace: the next are numbered and linked as if they had never been', () => {
  const chain = createChain(empty)
  chain.link([line('a')]).taken()
  const before = { seq: chain.seq(), root: chain.root(), last: chain.last() }
  const lost = chain.link([line('b'), line('c')])
  expect({ seq: chain.seq(), root: chain.root(), last: chain.last() }).toEqual(before)
  expect(chain.link([line('b'), line('c')]).bytes).toEqual(lost.bytes)
})

test('a chain goes on from what is kept of it', () => {
  const [whole, first] = [createChain(empty), createChain(empty)]
  for (const chain of [whole, first]) chain.link(['a', 'b', 'c'].map(line)).taken()
  const again = createChain({ size: first.seq(), parts: first.parts(), last: first.last() })
  for (const chain of [whole, again]) chain.link([line('d')]).taken()
  expect([again.root(), again.last()]).toEqual([whole.root(), whole.last()])
})
