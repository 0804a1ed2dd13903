/** A path in the volume, and what is not alike there. */
export interface Difference {
  /** Within the snapshot: `data/...`; bytes that are not printable are escaped. */
  readonly path: string
  readonly what: string
}

/** The receipt of a content proof: one snapshot, read whole on two hosts and compared. */
export interface Verification {
  /** `failed`: it could not be compared, which says nothing about the content. */
  readonly state: 'equal' | 'differs' | 'failed'
  readonly snapshot: string
  readonly algorithm: string
  /** By host name; equal when the content is. A host that could not read all of it has one too. */
  readonly digests: Readonly<Record<string, string>>
  /** Names, directories among them, and bytes, as the owner's side has them. */
  readonly entries: number
  readonly bytes: number
  /** The first of them, at most ten. */
  readonly differences: readonly Difference[]
  /** Why it failed; null unless it did. */
  readonly reason: string | null
  /** When it ended. */
  readonly at: string
}
