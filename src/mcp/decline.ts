import type { RpcId } from './message.ts'

/** What a server is told of its request to the client, where that goes no further: for an elicitation the protocol has a word of its own. */
export function declineText(id: RpcId, method: string): string {
  // A ping asks whether this end lives, and it does.
  if (method === 'ping') return JSON.stringify({ jsonrpc: '2.0', id, result: {} })
  if (method === 'elicitation/create')
    return JSON.stringify({ jsonrpc: '2.0', id, result: { action: 'decline' } })
  return JSON.stringify({ jsonrpc: '2.0', id, error: { code: -1, message: 'Refused by policy' } })
}
