import { createHash } from 'node:crypto'
import { DroverError } from '../../src/domain/errors.ts'
import type { Files } from '../../src/lib/files.ts'
import { noTraits, type Traits } from '../../src/lib/tree-digest/traits.ts'
import { EndedProofs } from '../../src/migrate/verification/ended-proofs.ts'
import type { DigestTask, ItemView, TreeDigests } from '../../src/migrate/verification/tree-digests.ts'
import type { Kernel } from './kernel.ts'

/** A file of the memory file system has no more than these. */
const traits: Traits = { ...noTraits, type: 'file', mode: '644', owner: '0:0' }

/** Digests of what is in memory: the contract without processes and progress. All of a snapshot is one chunk. */
export const memoryDigests = (kernel: Kernel, files: Files): TreeDigests => {
  const read = (path: string): ItemView[] => {
    const files = kernel.ownMountAt(path)?.dataset?.files
    if (files === undefined) throw new DroverError('DATASET_MISSING', `nothing is shown at ${path}`)
    return [...files]
      .toSorted(([one], [other]) => (one < other ? -1 : 1))
      .map(([name, bytes]) => ({
        path: Buffer.from(name).toString('base64'),
        shown: name,
        segment: 0,
        traits,
        content: createHash('sha256').update(bytes).digest('hex'),
        error: '',
      }))
  }
  const digest = (items: readonly ItemView[]): string =>
    createHash('sha256').update(JSON.stringify(items)).digest('hex')
  const last = new Map<string, string>()
  const over = new EndedProofs(files, '/data/ended-proofs.json')
  const itemsOf: TreeDigests['items'] = async (backend, { volumeId, snapshot }: DigestTask) => {
    if (backend.snapshots === undefined) throw new DroverError('INTERNAL', 'no snapshots')
    return backend.snapshots.withPath(volumeId, snapshot, async (path) => read(path))
  }
  return {
    async status(backend, task) {
      const items = await over.unlessEnded(task.verificationId, () =>
        itemsOf(backend, task, { ordinal: 0, segment: 0 }),
      )
      await over.unlessEnded(task.verificationId, () => last.set(task.verificationId, digest(items)))
      return { state: 'done', entries: items.length, bytes: 0, digest: digest(items), unreadable: [], error: null }
    },
    chunks: async (verificationId, from) => {
      const known = last.get(verificationId)
      return known === undefined || from > 0 ? [] : [{ ordinal: 0, segment: 0, digest: known }]
    },
    items: itemsOf,
    end: async (verificationId) => {
      await over.add(verificationId)
      last.delete(verificationId)
    },
    kept: async () => [...last.keys()],
    busy: () => false,
    close: () => {},
  }
}
