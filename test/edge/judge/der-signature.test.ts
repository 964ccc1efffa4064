import { generateKeyPairSync, randomBytes, sign, verify } from 'node:crypto'
import { expect, test } from 'vitest'
import { derSignature } from '../../../src/edge/judge/assertion.ts'

const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const raw = (data: Buffer) => sign('sha256', data, { key: privateKey, dsaEncoding: 'ieee-p1363' })

test('a signature holds in the other form, also one with leading zeros, and no other holds', () => {
  for (let i = 0, short = 0; i < 1000 || short < 3; i++) {
    const data = randomBytes(16)
    const signature = raw(data)
    if (signature[0] === 0 || signature[32] === 0) short++
    expect(verify('sha256', data, publicKey, derSignature(signature))).toBe(true)
    signature[i % 64] = (signature[i % 64] as number) ^ 1
    expect(verify('sha256', data, publicKey, derSignature(signature))).toBe(false)
  }
})

test.each([
  ['zeros', Buffer.alloc(64)],
  ['ones', Buffer.alloc(64, 0xff)],
  ['r of zero', Buffer.concat([Buffer.alloc(32), Buffer.alloc(32, 1)])],
  ['s of zero', Buffer.concat([Buffer.alloc(32, 1), Buffer.alloc(32)])],
])('%s verify nothing', (_name, signature) => {
  expect(verify('sha256', Buffer.from('data'), publicKey, derSignature(signature))).toBe(false)
})
