import type { Tags } from './model.ts'
import { Ec2Error, type Parameters } from './wire.ts'

type Properties = Readonly<Record<string, string | null>>

/** What is left of `found` by the filters: all of them must match, each with one of its values. @throws InvalidParameterValue */
export const filtered = <T extends { readonly tags: Tags }>(
  found: readonly T[],
  parameters: Parameters,
  propertiesOf: (each: T) => Properties,
): T[] => {
  const filters = parameters
    .groups('Filter')
    .map((group) => ({ name: group.must('Name'), values: group.list('Value') }))
  return found.filter((each) =>
    filters.every(({ name, values }) => {
      if (name === 'tag-key') return values.some((value) => Object.hasOwn(each.tags, value))
      if (name.startsWith('tag:')) return values.includes(each.tags[name.slice(4)] ?? '\0')
      const properties = propertiesOf(each)
      if (!Object.hasOwn(properties, name)) {
        throw new Ec2Error('InvalidParameterValue', `The filter '${name}' is invalid`)
      }
      return values.includes(properties[name] ?? '\0')
    }),
  )
}

/** A page of what was found; ids and MaxResults do not go together. */
export const paged = <T extends { readonly id: string }>(
  found: readonly T[],
  parameters: Parameters,
  idsName: string,
): { page: T[]; nextToken: string | null } => {
  const most = parameters.number('MaxResults')
  const token = parameters.text('NextToken')
  if (most !== null && parameters.list(idsName).length > 0) {
    throw new Ec2Error(
      'InvalidParameterCombination',
      `The parameter ${idsName}s cannot be used with the parameter maxResults`,
    )
  }
  if (most !== null && most < 5)
    throw new Ec2Error('InvalidParameterValue', `Value (${most}) for parameter maxResults is invalid.`)
  const sorted = found.toSorted((one, other) => (one.id < other.id ? -1 : 1))
  const rest = token === null ? sorted : sorted.filter(({ id }) => id > Buffer.from(token, 'base64url').toString())
  const page = rest.slice(0, most ?? 1000)
  const last = page.at(-1)
  const isWhole = page.length === rest.length || last === undefined
  return { page, nextToken: isWhole ? null : Buffer.from(last.id).toString('base64url') }
}
