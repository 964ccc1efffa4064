// How a tool of the demonstration is written down: names, arguments, enums and annotations as GitHub's own server
// has them (0.12.1), descriptions in our words, and what it does to the repository.
import type { CallToolResult, JSONObject, Tool } from '@modelcontextprotocol/server'
import type { Repository } from './repository.ts'

type Schema = JSONObject
type Done = [text: string, json: unknown]
export type Page = { page?: number; perPage?: number }

export type DemoTool = { definition: Tool; run: (repository: Repository, args: object) => CallToolResult }

export const string = (description: string): Schema => ({ type: 'string', description })
export const number = (description: string): Schema => ({ type: 'number', description })
export const boolean = (description: string): Schema => ({ type: 'boolean', description })
export const strings = (description: string): Schema => ({
  type: 'array',
  items: { type: 'string' },
  description,
})
export const oneOf = (description: string, ...values: string[]): Schema => ({
  type: 'string',
  enum: values,
  description,
})

export const perPage = { type: 'number', minimum: 1, maximum: 100, description: 'Results a page' }
export const paging = { page: { type: 'number', minimum: 1, description: 'Page, from 1' }, perPage }
export const place = { owner: string('Owner of the repository'), repo: string('Name of the repository') }
export const pullNumber = number('Number of the pull request')
export const issue_number = number('Number of the issue')
export const message = string('Commit message')
export const reads = { readOnlyHint: true }

/** A tool; a run that gives a text and a value answers with the text and the value's JSON. */
export const tool = <A extends object>(
  name: string,
  title: string,
  description: string,
  properties: Record<string, Schema>,
  required: string,
  run: (repository: Repository, args: A) => Done | CallToolResult,
  annotations: Tool['annotations'] = { readOnlyHint: false },
): DemoTool => {
  const inputSchema: Tool['inputSchema'] = { type: 'object', properties }
  if (required) inputSchema.required = required.split(' ')
  return {
    definition: { name, description, annotations: { title, ...annotations }, inputSchema },
    run: (repository, args) => {
      if ('owner' in args && 'repo' in args) repository.require(String(args.owner), String(args.repo))
      const done = run(repository, args as A)
      if (!Array.isArray(done)) return done
      const texts = [done[0], JSON.stringify(done[1])]
      return { content: texts.map((text) => ({ type: 'text', text })) }
    },
  }
}
