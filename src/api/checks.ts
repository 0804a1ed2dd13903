import type { IncomingMessage } from 'node:http'
import { DroverError } from '../domain/errors.ts'
import { readBody } from '../lib/http-body.ts'
import type { z } from './zod.ts'

export const bodyLimitBytes = 1024 * 1024

/** The JSON of a request, whatever its Content-Type says; an empty body is `{}`. @throws BAD_REQUEST, BODY_TOO_LARGE */
export const readJson = async (request: IncomingMessage): Promise<unknown> => {
  const text = (await readBody(request, bodyLimitBytes)).toString('utf8')
  if (text.trim() === '') return {}
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new DroverError(
      'BAD_REQUEST',
      `the request body is not JSON: ${error instanceof Error ? error.message : error}`,
    )
  }
}

/** @throws BAD_REQUEST that names every field that is wrong */
export const check = <T extends z.ZodType>(schema: T, value: unknown, what: string): z.output<T> => {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const fields = result.error.issues.flatMap((issue) => {
    const place = issue.path.map(String).join('.')
    if (issue.code !== 'unrecognized_keys') return [{ field: place, problem: lower(issue.message) }]
    return issue.keys.map((key) => ({
      field: place === '' ? key : `${place}.${key}`,
      problem: 'there is no such field',
    }))
  })
  const list = fields.map(({ field, problem }) => (field === '' ? problem : `${field}: ${problem}`)).join('; ')
  throw new DroverError('BAD_REQUEST', `the ${what} cannot be used: ${list}`, { details: { fields } })
}

const lower = (message: string): string => message.replace(/^Invalid (input|option): /, '')

/**
 * The version that If-Match demands; undefined when it demands none. A tag that is not one of ours matches no version.
 * @throws BAD_REQUEST for a list of tags
 */
export const versionDemanded = (header: string | undefined): number | undefined => {
  if (header === undefined || header.trim() === '*') return undefined
  if (header.includes(',')) throw new DroverError('BAD_REQUEST', 'If-Match takes one ETag here, or *; send one')
  const match = /^"(\d{1,15})"$/.exec(header.trim())
  return match === null ? 0 : Number(match[1])
}
