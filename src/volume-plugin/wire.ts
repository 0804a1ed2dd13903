import { DroverError } from '../domain/errors.ts'
import { checkVolumeName } from '../domain/names.ts'

/** Docker's types. Every field that an engine leaves out, or sends as null, is looked at here and nowhere else. */
export type Answer = Readonly<Record<string, unknown>>

export interface WireVolume {
  readonly Name: string
  readonly Mountpoint: string
  readonly CreatedAt: string
  readonly Status?: Readonly<Record<string, unknown>>
}

/**
 * The request could not be understood at all: empty, cut off, no name. An engine whose connection broke sends its retry
 * with an empty body, so this is no answer about any volume, and nothing may be made of it.
 */
export class IncompleteRequest extends DroverError {
  constructor(what: string) {
    super('BAD_REQUEST', `${what}; nothing was done, send the request again whole`)
    this.name = 'IncompleteRequest'
  }
}

export type Fields = Readonly<Record<string, unknown>>

/** @throws {IncompleteRequest} */
export const parseFields = (body: Buffer): Fields => {
  if (body.length === 0) throw new IncompleteRequest('the request has an empty body')
  let value: unknown
  try {
    value = JSON.parse(body.toString('utf8'))
  } catch (error) {
    throw new IncompleteRequest(`the request is not JSON (${error instanceof Error ? error.message : String(error)})`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new IncompleteRequest('the request is not a JSON object')
  }
  return value as Fields
}

/** @throws {IncompleteRequest} without a name, BAD_NAME with a bad one */
export const nameOf = (fields: Fields): string => {
  if (typeof fields.Name !== 'string') throw new IncompleteRequest('the request names no volume')
  return checkVolumeName(fields.Name)
}

/** A hint and no more: old engines send none, podman always the same. @throws {IncompleteRequest} when it is no text */
export const callerOf = (fields: Fields): string => {
  const id = fields.ID ?? ''
  if (typeof id !== 'string') throw new IncompleteRequest('the ID of the caller is not a text')
  return id
}

/** `Opts` is null when there are none. @throws BAD_REQUEST */
export const optionsOf = (fields: Fields): Readonly<Record<string, string>> => {
  const options = fields.Opts ?? {}
  if (typeof options !== 'object' || Array.isArray(options)) {
    throw new DroverError('BAD_REQUEST', 'Opts is not an object of texts; write -o NAME=VALUE')
  }
  for (const [name, value] of Object.entries(options)) {
    if (typeof value !== 'string') {
      throw new DroverError('BAD_REQUEST', `option ${JSON.stringify(name)} is not a text; write -o ${name}=VALUE`)
    }
  }
  return options as Record<string, string>
}
