import type { JsonObject } from '../../mcp/strict-json.ts'
import { toEcs } from './ecs.ts'
import { toOcsf } from './ocsf.ts'
import { toOtel } from './otel.ts'

export const SCHEMAS = ['native', 'ecs', 'otel', 'ocsf'] as const
export type Schema = (typeof SCHEMAS)[number]

/** One event as one JSON text in a schema. `native` is the line as it was recorded, byte for byte. */
export function project(schema: Schema, event: JsonObject, line: string): string {
  switch (schema) {
    case 'native':
      return line
    case 'ecs':
      return JSON.stringify(toEcs(event))
    case 'ocsf':
      return JSON.stringify(toOcsf(event))
    case 'otel':
      return JSON.stringify(toOtel(event, line).record)
  }
}
