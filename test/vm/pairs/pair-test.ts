import { randomBytes } from 'node:crypto'
import { type FileHandle, mkdir, open } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Backend, SnapshotFacet } from '../../../src/backends/backend.ts'
import type { SnapshotRecord } from '../../../src/domain/dataset.ts'
import type { VolumeId } from '../../../src/domain/ids.ts'
import { mib, newId, raise, recordOf } from '../../contract/backend-bench.ts'
import { carryStream } from '../../contract/backend-stream-suite.ts'
import { carryTree } from '../../contract/backend-tree-suite.ts'
import { realHands } from '../../contract/hands.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'
import { digestOf } from '../../support/tree-digest.ts'
import { type Kind, pools } from './pools.ts'

export type Pair = readonly [from: Kind, to: Kind]

/** With `ofEveryKernel` each kind once as source and once as target; the others take long in emulation. */
export const oneOfEach: readonly Pair[] = [
  ['zfs', 'lvm-thin'],
  ['lvm-thin', 'btrfs'],
  ['loop', 'zfs'],
]
export const ofEveryKernel: Pair = ['btrfs', 'loop']

export const sizeBytes = 256 * mib
export const fileBytes = 16 * mib
const changes = 8
const changeBytes = 100_000

/** As moves choose: the pools' own stream where both speak the same one, file by file otherwise. */
export const carry = async (
  from: Backend,
  to: Backend,
  id: VolumeId,
  sent: SnapshotRecord,
  base: SnapshotRecord | null,
) => {
  const isNative = from.streams?.format === to.streams?.format
  const hands = realHands
  const { bytes, received } = isNative
    ? await carryStream({ hands }, { from, to, id, sent, base: base?.name ?? null })
    : await carryTree({ hands }, { from, to, id, sizeBytes, sent, base: base && { here: base, there: base.name } })
  expect(await snapshotsOf(to).intact(id, received)).toBe(true)
  const digestOfSent = await digest(from, id, sent.name)
  expect(await digest(to, id, sent.name)).toBe(digestOfSent)
  return { bytes, isNative, digestOfSent }
}

export const snapshotsOf = (on: Backend): SnapshotFacet => on.snapshots ?? raise('no snapshots')

export const digest = (on: Backend, id: VolumeId, name: string) =>
  snapshotsOf(on).withPath(id, name, async (path) => digestOf(join(path, 'data')))

export const mounted = async <T>(on: Backend, id: VolumeId, use: (data: string) => Promise<T>): Promise<T> => {
  const path = join(await temporaryDirectory(), 'mnt')
  await mkdir(path)
  await on.mount(id, path)
  return use(join(path, 'data')).finally(() => on.unmount(id, path))
}

/** Other bytes in places far from each other. */
export const change = async (file: FileHandle): Promise<void> => {
  for (let index = 0; index < changes; index += 1) {
    await file.write(randomBytes(changeBytes), 0, changeBytes, (index * fileBytes) / changes)
  }
  await file.sync()
}

/** A hostile tree from a pool of one kind to one of another, whole and upon a base: every name, trait and byte arrives. */
export const pairTest = ([fromKind, toKind]: Pair): void => {
  test(`${fromKind} to ${toKind}: whole, and upon what is there`, async () => {
    const [from, to] = [await pools[fromKind](), await pools[toKind]()]
    const id = newId()
    for (const backend of [from, to]) await backend.writeRecord(recordOf(id, backend))
    await from.create(id, { sizeBytes })
    const [first, second] = await mounted(from, id, async (data) => {
      await realHands.plantHostileTree(data)
      const file = await open(join(data, 'big'), 'w+')
      for (let at = 0; at < fileBytes; at += mib) await file.write(randomBytes(mib), 0, mib, at)
      const snapshot = await snapshotsOf(from).create(id, 's1', 'move')
      await change(file)
      await file.close()
      await realHands.rename(join(data, 'owned'), join(data, 'renamed'))
      return [snapshot, await snapshotsOf(from).create(id, 's2', 'move')] as const
    })

    const whole = await carry(from, to, id, first, null)
    const upon = await carry(from, to, id, second, first)
    // File by file goes what changed. The pools' own streams go by whole records, and carry what the file systems keep for themselves.
    expect(upon.bytes).toBeLessThan(upon.isNative ? whole.bytes / 4 : changes * changeBytes * 1.2)
    expect((await snapshotsOf(to).list(id)).map(({ name }) => name)).toEqual(['s1', 's2'])
    expect(await to.streams?.partials(id)).toEqual([])
    const live = await to.streams?.promote(id, 's2', { sizeBytes })
    expect(live?.sizeBytes).toBe(sizeBytes)
    await mounted(to, id, async (data) => expect(digestOf(data)).toBe(upon.digestOfSent))
  }, 900_000)
}
