import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest'
import type { Backend } from '../../src/backends/backend.ts'
import type { DatasetRecord } from '../../src/domain/dataset.ts'
import { clusterId, hostId, type VolumeId, volumeId } from '../../src/domain/ids.ts'
import { createExec, type Exec } from '../../src/lib/exec.ts'
import { silentLogger } from '../../src/lib/logger.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'
import { type Hands, realHands } from './hands.ts'
import { TriedPool } from './tried-pool.ts'

export const exec = createExec(silentLogger)
export const mib = 2 ** 20

/** Real storage to run the suite on, and the hands of a stranger who works on it behind Drover's back. */
export interface PoolUnderTest {
  /** Another backend on the same pool, as after a restart; not opened. `by`: what it starts its commands with. */
  backend(by?: Exec): Backend
  /** Puts things that are not Drover's on the pool. `names`: those that `list` must report. */
  plantForeign(): Promise<{ names: readonly string[]; untouched(): Promise<boolean>; remove(): Promise<void> }>
  /** Makes the snapshot writable, writes to it, makes it read-only again. */
  tamper(id: VolumeId, snapshot: string): Promise<void>
  /** Makes a subvolume or dataset within the live dataset, at this path below it. Absent: this kind has no such thing. */
  nest?(id: VolumeId, path: string): Promise<void>
  /** This machine lets what is mounted grow. Default: true. */
  readonly growsMounted?: boolean
  /** Sizes of devices are whole multiples of it, and limits hold at those. Default: they hold to a MiB. */
  readonly wholeBytes?: number
  /** Characters of a snapshot's name. Default: 200. */
  readonly longestName?: number
  /** Leaves a removal as a crash does: out of sight, the slow part not begun. */
  interruptRemoval(id: VolumeId): Promise<void>
  /** Leaves a live dataset in the making, as a crash does. */
  interruptMaking(id: VolumeId): Promise<void>
  /** Everything on the pool that a removal could leave behind. */
  leftovers(): Promise<unknown>
  /** Asked after each test, when every volume was removed: fails when something is left, or was done that must not be. Default: it is not asked. */
  checkEmpty?(): void
  /**
   * One backend, opened once, serves all tests of a file, and each test has to leave `leftovers` as it found them; else the next one gets
   * another pool. For where processes start slowly. Default: each test opens a backend of its own.
   */
  readonly staysOpen?: boolean
  /** Default: those for real file systems. */
  readonly hands?: Hands
  dispose(): Promise<void>
}

export const wholeBytesOf = ({ wholeBytes }: PoolUnderTest): number => wholeBytes ?? mib

export type MakePool = () => Promise<PoolUnderTest>

/** Two pools, where the tests want the other one, each with an open backend. */
export interface BackendBench {
  readonly pool: PoolUnderTest
  readonly backend: Backend
  readonly otherPool: PoolUnderTest
  readonly other: Backend
  readonly hands: Hands
  /** A volume with a record and a live dataset on the first pool. */
  made(sizeBytes?: number | null): Promise<VolumeId>
  /** Mounts the live dataset until the test ends; answers its data directory. */
  mounted(on: Backend, id: VolumeId): Promise<string>
}

export const setUpBench = (makePool: MakePool, wantsOther = true): BackendBench => {
  const pools = Array.from({ length: wantsOther ? 2 : 1 }, () => new TriedPool(makePool))
  const mounts: { on: Backend; id: VolumeId; path: string }[] = []
  const at = (index: number) => pools[index] ?? raise('the bench has no such pool')

  beforeAll(async () => {
    for (const pool of pools) await pool.make()
  })
  beforeEach(async ({ task, onTestFinished }) => {
    // Told first, done last: after what the test itself wants done then.
    onTestFinished(async () => {
      const hasFailed = task.result?.state === 'fail'
      const checks = await Promise.allSettled(pools.map((pool) => pool.checkAtRest(hasFailed)))
      for (const check of checks) if (check.status === 'rejected') throw check.reason
    })
    for (const pool of pools) await pool.open()
  })
  afterEach(async () => {
    for (const { on, id, path } of mounts.splice(0)) await on.unmount(id, path)
    for (const pool of pools) await pool.clear()
  })
  afterAll(async () => {
    for (const pool of pools) await pool.dispose()
  })

  const bench: BackendBench = {
    get pool() {
      return at(0).pool
    },
    get backend() {
      return at(0).backend
    },
    get otherPool() {
      return at(1).pool
    },
    get other() {
      return at(1).backend
    },
    get hands() {
      return at(0).pool.hands ?? realHands
    },
    made: async (sizeBytes = null) => {
      const id = newId()
      await bench.backend.writeRecord(recordOf(id, bench.backend))
      await bench.backend.create(id, { sizeBytes })
      return id
    },
    mounted: async (on, id) => {
      const path = join(await temporaryDirectory(), 'mnt')
      mounts.push({ on, id, path })
      await on.mount(id, path)
      return join(path, 'data')
    },
  }
  return bench
}

/** EDQUOT or ENOSPC; Node has no name for the first. */
export const pastTheLimit = { errno: expect.toSatisfy((errno) => errno === -122 || errno === -28) }

let sequence = 0
export const newId = (): VolumeId =>
  volumeId(`${Date.now().toString(36)}${(sequence++).toString(36).padStart(4, '0')}`.padStart(26, '0'))

export const recordOf = (id: VolumeId, backend: Backend): DatasetRecord => ({
  formatVersion: 1,
  clusterId: clusterId('c'.repeat(26)),
  hostId: hostId('h'.repeat(26)),
  pool: backend.spec.text,
  volumeId: id,
  name: 'db',
  nameVersion: 1,
  role: 'owner',
  epoch: 1,
  seen: 1,
  moveId: null,
  endedMoves: [],
  datasetUuid: null,
  snapshot: null,
  snapshots: [],
  lease: 'none',
  sizeBytes: null,
  labels: { a: 'b' },
  createdAt: '2026-11-23T00:00:00.000Z',
  keepUntil: null,
})

export const raise = (message: string): never => {
  throw new Error(message)
}
