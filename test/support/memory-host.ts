import { clusterId, hostId } from '../../src/domain/ids.ts'
import { systemClock } from '../../src/lib/clock.ts'
import type { Files } from '../../src/lib/files.ts'
import { silentLogger } from '../../src/lib/logger.ts'
import { thisMachine } from '../../src/lib/machine.ts'
import { Catalog } from '../../src/volumes/catalog.ts'
import { EpochLedger } from '../../src/volumes/epoch-ledger.ts'
import { VolumeHost } from '../../src/volumes/host.ts'
import { Kernel } from '../simulation/kernel.ts'
import { MemoryBackend, quickHand } from '../simulation/memory-backend.ts'
import { MemoryPool } from '../simulation/memory-pool.ts'

const memoryFiles = (): Files => {
  const stored = new Map<string, string>()
  const below = (path: string) => [...stored.keys()].filter((name) => name.startsWith(`${path}/`))
  return {
    readIfExists: async (path) => stored.get(path) ?? null,
    writeJsonDurably: async (path, value) => void stored.set(path, JSON.stringify(value)),
    ensureDirectory: async () => {},
    list: async (path) => below(path).map((name) => name.slice(path.length + 1)),
    remove: async (path) => void stored.delete(path),
  }
}

export interface MemoryHost {
  /** In `btrfs:/other`. */
  readonly other: MemoryBackend
  readonly host: VolumeHost
  readonly files: Files
  readonly backend: MemoryBackend
  readonly pool: MemoryPool
  readonly kernel: Kernel
}

/** A host whose disk, pool and mounts are in memory. */
export const memoryHost = async ({ twoPools = false, clock = systemClock } = {}): Promise<MemoryHost> => {
  const files = memoryFiles()
  const pool = new MemoryPool('/pool')
  const second = new MemoryPool('/other', 2 ** 30, 1e6)
  const kernel = new Kernel(pool, second)
  const [backend, other] = [pool, second].map(
    (each) => new MemoryBackend(each, kernel, quickHand, () => '2026-11-24T00:00:00.000Z'),
  ) as [MemoryBackend, MemoryBackend]
  const host = new VolumeHost({
    dataDir: '/data',
    backends: twoPools ? [backend, other] : [backend],
    epochs: await EpochLedger.open('/data', files),
    catalog: await Catalog.open('/data', files),
    machine: {
      ...thisMachine,
      files,
      mountsOf: async (mark) => kernel.mountsOf(mark),
      openersOf: async (mark) => kernel.openersOf(mark),
      isDirectory: async (path) => kernel.ownMountAt(path.replace(/\/data$/, '')) !== undefined,
    },
    clock,
    logger: silentLogger,
    identity: { clusterId: clusterId('c'.repeat(26)), hostId: hostId('h'.repeat(26)), hostName: 'host1' },
  })
  return { host, files, backend, other, pool, kernel }
}
