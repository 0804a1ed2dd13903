import type { StreamKind } from './stream-kind.ts'

/** What a move asks of a cloud, in the units that it bills by; about, and rather more than less. */
export interface CloudUse {
  readonly apiCalls: number
  /** Most that its snapshots hold that none before them did. */
  readonly snapshotBytes: number
  /** For as long as Drover keeps what it makes of them. */
  readonly snapshotGibMonths: number
  /** Of the second volume, while there are two. */
  readonly volumeGibMonths: number
  /** Between zones or regions. */
  readonly transferBytes: number
}

/** Counted on the local EC2 server (docs/ebs.md has the figures), and some more for states that take longer. */
const calls = { handover: 10, snapshot: 40, copies: 60 }
/** The base stays on the source for a day, and a month has 730 hours. */
const keptMonths = 24 / 730
/** The source's volume goes when the move retires. */
const bothMonths = 0.25 / 730

/**
 * @param bytes that changed since the snapshot before, or all @param sizeBytes of the volume @param isCopied between regions, each of which keeps them. Null:
 * no cloud bills this way by itself.
 */
export const cloudUseOf = (
  way: StreamKind | 'handover',
  bytes: number,
  sizeBytes = bytes,
  isCopied = false,
): CloudUse | null => {
  const nothing = { snapshotBytes: 0, snapshotGibMonths: 0, volumeGibMonths: 0, transferBytes: 0 }
  if (way === 'handover') return { apiCalls: calls.handover, ...nothing }
  if (way !== 'snapshot') return null
  const [gib, sizeGib] = [bytes / 2 ** 30, sizeBytes / 2 ** 30]
  const copies = isCopied ? 2 : 1
  return {
    apiCalls: isCopied ? calls.copies : calls.snapshot,
    ...{ snapshotBytes: bytes * copies, snapshotGibMonths: rounded(gib * copies * keptMonths) },
    ...{ volumeGibMonths: rounded(sizeGib * bothMonths), transferBytes: isCopied ? bytes : 0 },
  }
}

const rounded = (amount: number): number => Math.round(amount * 10_000) / 10_000
