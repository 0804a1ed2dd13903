import { DroverError } from '../domain/errors.ts'

export interface Page<T> {
  readonly items: T[]
  readonly nextCursor: string | null
}

/**
 * One page of `all`, in the order of `keyOf` (`descending`: largest first). The cursor holds the last key that was sent, so
 * that what is made or removed meanwhile makes no other item appear twice or go missing.
 * @throws BAD_REQUEST for a cursor that is not one
 */
export const pageOf = <T>(
  all: readonly T[],
  keyOf: (item: T) => string,
  query: { limit: number; cursor?: string | undefined },
  descending = false,
): Page<T> => {
  const sign = descending ? -1 : 1
  const order = (a: string, b: string) => (a === b ? 0 : a < b ? -sign : sign)
  const after = query.cursor === undefined ? null : readCursor(query.cursor)
  const sorted = all.map((item) => ({ key: keyOf(item), item })).sort((a, b) => order(a.key, b.key))
  const rest = after === null ? sorted : sorted.filter(({ key }) => order(key, after) > 0)
  const page = rest.slice(0, query.limit)
  const last = page.at(-1)
  return {
    items: page.map(({ item }) => item),
    nextCursor: rest.length > page.length && last !== undefined ? writeCursor(last.key) : null,
  }
}

const writeCursor = (key: string): string => Buffer.from(JSON.stringify([key])).toString('base64url')

const readCursor = (cursor: string): string => {
  try {
    const value: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'))
    if (Array.isArray(value) && typeof value[0] === 'string') return value[0]
  } catch {
    // Told below, as any other cursor that is not ours.
  }
  throw new DroverError('BAD_REQUEST', 'the cursor is not one that this API gave; begin again without a cursor')
}
