import { expect, test } from 'vitest'
import { signAws } from '../../src/edge/services/s3.ts'

/** The examples of AWS ("Authenticating Requests: Using the Authorization Header"). */
const keys = {
  id: 'AKIAIOSFODNN7EXAMPLE',
  secret: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
  token: undefined,
  region: 'us-east-1',
}
const time = new Date('2013-05-24T00:00:00Z')
const at = (path: string) => new URL(`https://examplebucket.s3.amazonaws.com${path}`)

test.each([
  [
    'GET',
    '/test.txt',
    { Range: 'bytes=0-9' },
    'f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41',
  ],
  ['GET', '/?lifecycle', {}, 'fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543'],
  ['GET', '/?max-keys=2&prefix=J', {}, '34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7'],
] as [string, string, Record<string, string>, string][])(
  '%s %s is signed as AWS signs it',
  (method, path, headers, signature) => {
    const { authorization } = signAws('s3', method, at(path), headers, '', keys, time)
    expect(authorization).toMatch(new RegExp(`,Signature=${signature}$`))
  },
)

test('a token goes along and is signed', () => {
  const signed = signAws('s3', 'GET', at('/b'), {}, '', { ...keys, token: 'session' }, time)
  expect(signed['x-amz-security-token']).toBe('session')
  expect(signed.authorization).toContain(
    'SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token,',
  )
})
