import type { Argv } from '../../src/backends/backend.ts'
import type { Dataset, MemoryPool } from './memory-pool.ts'

/** What `memory-send` writes: the files that the base lacks or has otherwise, and the paths that are gone. */
export interface Stream {
  readonly uuid: string
  readonly baseUuid: string | null
  readonly files: readonly (readonly [string, Uint8Array])[]
  readonly gone: readonly string[]
  readonly bytes: number
}

const identity = (dataset: Dataset): string => dataset.receivedUuid ?? dataset.uuid

/** @throws when the snapshot or its base is not there */
export const readStream = (pool: MemoryPool, argv: Argv): Stream => {
  const [, id = '', name = '', baseName = ''] = argv
  const snapshots = pool.volumes.get(id)?.snapshots
  const snapshot = snapshots?.get(name)
  const base = baseName === '' ? undefined : snapshots?.get(baseName)
  if (snapshot === undefined || (baseName !== '' && base === undefined)) throw new Error(`no snapshot ${name} to send`)
  const files = [...snapshot.files].filter(([path, content]) => base?.files.get(path) !== content)
  const gone = base === undefined ? [] : [...base.files.keys()].filter((path) => !snapshot.files.has(path))
  return {
    uuid: identity(snapshot),
    baseUuid: base === undefined ? null : identity(base),
    files,
    gone,
    bytes: files.reduce((sum, [path, content]) => sum + path.length + content.length, 64 + gone.length * 16),
  }
}

/** The receiving command's work: a snapshot upon the base, in the partial. Not `whole`: cut short, it is not read-only yet. */
export const writeStream = (pool: MemoryPool, argv: Argv, stream: Stream, whole: boolean, createdAt: string): void => {
  const [, id = '', partial = ''] = argv
  const directory = pool.volumes.get(id)
  if (directory === undefined || !directory.partials.has(partial)) throw new Error('no place to receive into')
  const base = [...directory.snapshots.values()].findLast(
    (other) => other.readOnly && identity(other) === stream.baseUuid,
  )
  if (stream.baseUuid !== null && base === undefined) throw new Error('the base of the stream is not here')
  const made = base === undefined ? pool.newDataset(createdAt) : pool.snapshotOf(base, false, createdAt)
  made.limitBytes = null
  const files = whole ? stream.files : stream.files.slice(0, Math.floor(stream.files.length / 2))
  pool.change(made, (content) => {
    for (const [path, bytes] of files) content.set(path, bytes)
    for (const path of stream.gone) content.delete(path)
  })
  if (whole) {
    made.receivedUuid = stream.uuid
    made.readOnly = true
  }
  directory.partials.set(partial, made)
}
