import { isMap } from '../settings.ts'
import { ask } from './aws.ts'
import { type AwsKeys, signAws } from './s3.ts'

/** Milliseconds before its end in which a token is renewed. */
const MARGIN = 60_000

/**
 * What stands after `Basic ` for a registry of AWS (ECR API, `GetAuthorizationToken`), kept until shortly before its end.
 * @param endpoint where it is asked, where that is not AWS's own
 */
export function createEcrToken(
  keys: () => Promise<AwsKeys>,
  endpoint: string | undefined,
  now: () => number = Date.now,
): () => Promise<string> {
  let kept: { token: string; until: number } | undefined
  return async () => {
    if (kept && now() < kept.until - MARGIN) return kept.token
    const by = await keys()
    const url = new URL(endpoint ?? `https://ecr.${by.region}.amazonaws.com/`)
    const headers = {
      'content-type': 'application/x-amz-json-1.1',
      'x-amz-target': 'AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken',
    }
    const signed = signAws('ecr', 'POST', url, headers, '{}', by, new Date(now()))
    const text = await ask('POST', url.href, { ...headers, ...signed }, '{}')
    const { token, until } = read(text)
    if (token === undefined) throw new Error(`${url.origin} answered with no token for its registry`)
    kept = { token, until }
    return token
  }
}

function read(text: string): { token: string | undefined; until: number } {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return { token: undefined, until: 0 }
  }
  const [data] = isMap(value) && Array.isArray(value.authorizationData) ? value.authorizationData : []
  const { authorizationToken: token, expiresAt } = isMap(data) ? data : {}
  return {
    token: typeof token === 'string' && /^[A-Za-z0-9+/]+=*$/.test(token) ? token : undefined,
    // Seconds, with a fraction.
    until: typeof expiresAt === 'number' ? expiresAt * 1000 : 0,
  }
}
