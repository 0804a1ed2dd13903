declare const brand: unique symbol
type Branded<Name extends string> = string & { readonly [brand]: Name }

/** A ULID in lower case: sortable, safe in paths and container names, never reused. */
export type VolumeId = Branded<'VolumeId'>
export type MoveId = Branded<'MoveId'>
export type HostId = Branded<'HostId'>
export type ClusterId = Branded<'ClusterId'>

const shape = /^[0-9a-z]{26}$/

const parse =
  <T extends string>(what: string) =>
  (text: string): T => {
    if (!shape.test(text)) throw new TypeError(`not a ${what} id: ${JSON.stringify(text)}`)
    return text as T
  }

export const volumeId = parse<VolumeId>('volume')
export const moveId = parse<MoveId>('move')
export const hostId = parse<HostId>('host')
export const clusterId = parse<ClusterId>('cluster')

export const isId = (text: string): boolean => shape.test(text)
