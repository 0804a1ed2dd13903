import { createBackend } from '../../../src/backends/registry.ts'
import { parsePoolSpec } from '../../../src/domain/pool.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import { exec } from '../../contract/backend-bench.ts'
import { sh } from '../../support/loop-btrfs.ts'

/** The guest's disk that outlives it. */
const disk = '/dev/disk/by-id/virtio-pools'

export interface Storage {
  /** Two pools of Drover's on the disk. */
  make(): Promise<void>
  /** After a boot. @throws Error unless all is sound */
  bringBack(): Promise<void>
  readonly source: string
  readonly target: string
}

const zfs: Storage = {
  make: async () => {
    await sh('zpool', 'create', '-O', 'mountpoint=none', '-o', 'cachefile=none', 'tank', disk)
    for (const name of ['source', 'target']) await sh('zfs', 'create', `tank/${name}`)
  },
  bringBack: async () => {
    await sh('zpool', 'import', '-N', '-d', '/dev/disk/by-id', '-o', 'cachefile=none', 'tank')
    await sh('zpool', 'scrub', '-w', 'tank')
    const status = await sh('zpool', 'status', '-x', 'tank')
    if (status.trim() !== "pool 'tank' is healthy") throw new Error(status)
  },
  source: 'zfs:tank/source',
  target: 'zfs:tank/target',
}

const lvm: Storage = {
  make: async () => {
    await sh('vgcreate', '-q', 'tank', disk)
    for (const name of ['source', 'target']) {
      const options = ['-L', '1G', '--poolmetadatasize', '16M', '--monitor', 'n', '-n', name]
      await sh('lvcreate', '-q', '--type', 'thin-pool', ...options, 'tank')
      await sh('lvchange', '-q', '--errorwhenfull', 'y', `tank/${name}`)
    }
  },
  // To activate a pool is to have its metadata checked.
  bringBack: async () => {
    for (const name of ['source', 'target']) {
      await sh('lvchange', '-q', '-ay', `tank/${name}`)
      const health = await sh('lvs', '--noheadings', '-o', 'lv_health_status', `tank/${name}`)
      if (health.trim() !== '') throw new Error(`tank/${name}: ${health.trim()}`)
    }
  },
  source: 'lvm:tank/source',
  target: 'lvm:tank/target',
}

export const storages: Readonly<Record<string, Storage>> = { zfs, 'lvm-thin': lvm }

export const opened = async (spec: string) => {
  const backend = createBackend({ spec: parsePoolSpec(spec), exec, logger: silentLogger, clock: systemClock })
  await backend.open()
  return backend
}
