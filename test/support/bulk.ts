import { answer, type Received, type Receiver, startReceiver } from './receiver.ts'

export type Bulk = Receiver & {
  /** documents by their id, in the order in which they came */
  documents: Map<string, Record<string, unknown>>
  /** how often an id came that was there */
  conflicts: () => number
}
type ItemFault = { status: number; type: string; reason: string }

/**
 * The bulk API of Elasticsearch and OpenSearch as documented, strict: an action line and a document for each item, `create`
 * only (what a data stream takes), `@timestamp` in each, a newline at the end, an answer for each item in order.
 * @param fault what becomes of one document instead of being created
 */
export async function startBulk(
  fault: (document: Record<string, unknown>, request: Received) => ItemFault | undefined = () => undefined,
): Promise<Bulk> {
  const documents = new Map<string, Record<string, unknown>>()
  let conflicts = 0
  const receiver = await startReceiver((request, response) => {
    const bad = (reason: string) =>
      answer(response, 400, { error: { type: 'illegal_argument_exception', reason }, status: 400 })
    if (!/^\/[a-z0-9._-]+\/_bulk(\?|$)/.test(request.url)) return bad(`no handler for ${request.url}`)
    if (request.headers['content-type'] !== 'application/x-ndjson')
      return answer(response, 406, { error: 'Content-Type header is not supported', status: 406 })
    if (!request.text.endsWith('\n')) return bad('The bulk request must be terminated by a newline [\\n]')
    const lines = request.text.slice(0, -1).split('\n')
    if (lines.length % 2 !== 0) return bad('an action without a document')
    const items: object[] = []
    let errors = false
    for (let at = 0; at < lines.length; at += 2) {
      const action = JSON.parse(lines[at] ?? '')
      const document = JSON.parse(lines[at + 1] ?? '')
      if (Object.keys(action).join() !== 'create')
        return bad('only write ops with an op_type of create are allowed in data streams')
      const id: string = action.create._id
      const found =
        typeof document['@timestamp'] !== 'string'
          ? {
              status: 400,
              type: 'document_parsing_exception',
              reason: 'data stream timestamp field [@timestamp] is missing',
            }
          : documents.has(id)
            ? {
                status: 409,
                type: 'version_conflict_engine_exception',
                reason: `[${id}]: document already exists`,
              }
            : fault(document, request)
      if (found) {
        errors = true
        if (found.status === 409) conflicts++
        items.push({
          create: { _id: id, status: found.status, error: { type: found.type, reason: found.reason } },
        })
      } else {
        documents.set(id, document)
        items.push({ create: { _id: id, status: 201, result: 'created' } })
      }
    }
    answer(response, 200, { took: 1, errors, items })
  })
  return { ...receiver, documents, conflicts: () => conflicts }
}
