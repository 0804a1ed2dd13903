import type { Backend } from '../../backends/backend.ts'
import type { ErrorCode } from '../../domain/errors.ts'
import type { VolumeId } from '../../domain/ids.ts'
import type { Position } from '../../lib/tree-digest/items.ts'
import type { Traits } from '../../lib/tree-digest/traits.ts'

/** How far the digest of a snapshot is on one host. */
export interface DigestStatus {
  /** `failed`: the reading ended badly; asking again goes on where it was. */
  readonly state: 'running' | 'done' | 'failed'
  readonly entries: number
  readonly bytes: number
  /** Of the whole tree, once done. */
  readonly digest: string | null
  /** Paths that could not be read, with the reason; the first few. */
  readonly unreadable: readonly string[]
  readonly error: { readonly code: ErrorCode; readonly message: string } | null
}

export interface ChunkMark extends Position {
  readonly digest: string
}

/** One item as it goes over the wire: bytes of the path in base64, and the path for a person. */
export interface ItemView {
  readonly path: string
  readonly shown: string
  readonly segment: number
  readonly traits: Traits
  readonly content: string
  readonly error: string
}

export interface DigestTask {
  /** Names the progress on this host's disk: the same id goes on, another one begins anew. */
  readonly verificationId: string
  readonly volumeId: VolumeId
  readonly snapshot: string
}

/**
 * Digests of snapshots on this host. Reading takes as long as the bytes take: it goes on in a process of its own with the least
 * priority, keeps its progress on disk, and survives the end of `vold`: the next call takes it up again.
 */
export interface TreeDigests {
  /** Starts it, or goes on, and answers when it ended, at the latest after `waitMs`. */
  status(backend: Backend, task: DigestTask, waitMs: number): Promise<DigestStatus>
  /** Marks of the chunks that are done, from number `from` on. */
  chunks(verificationId: string, from: number, limit: number): Promise<ChunkMark[]>
  /** Reads one chunk again and tells each name in it. */
  items(backend: Backend, task: DigestTask, start: Position): Promise<ItemView[]>
  /** Ends it and forgets the progress; that of a move is not begun again. The unknown is a success. */
  end(verificationId: string): Promise<void>
  /** Verifications of which progress is kept here and that are not being read for now. */
  kept(): Promise<string[]>
  /** A snapshot of the volume is being read. */
  busy(volumeId: VolumeId): boolean
  close(): void
}
