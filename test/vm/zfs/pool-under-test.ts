import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ZfsBackend } from '../../../src/backends/zfs/zfs-backend.ts'
import { parsePoolSpec } from '../../../src/domain/pool.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import { ownMounts } from '../../../src/lib/mountinfo.ts'
import { exec, type MakePool } from '../../contract/backend-bench.ts'
import { isInAHurry } from '../../support/in-a-hurry.ts'
import { sh } from '../../support/loop-btrfs.ts'
import { testZpool } from '../../support/zpool.ts'

const withoutRecord = 'f'.repeat(26)
const ofNewerFormat = 'n'.repeat(26)
const strangers = ['stranger', withoutRecord, ofNewerFormat, 'drover-trash/stranger', 'drover-trash/stranger.0-0']

/** A pool of ZFS in a file, for the contract suite. */
export const makePool: MakePool = async () => {
  const pool = await testZpool()
  const { dataset } = pool
  const snapshotPath = async (id: string, name: string): Promise<string> => {
    const rows = (await sh('zfs', 'list', '-H', '-r', '-t', 'snapshot', '-o', 'name', `${dataset}/${id}`)).split('\n')
    return rows.find((row) => row.endsWith(`@${name}`)) ?? ''
  }
  /** Mounted for as long as it takes. */
  const withMount = async <T>(name: string, work: (path: string) => Promise<T>): Promise<T> => {
    const path = await mkdtemp('/var/tmp/drover-mount-')
    await sh('mount', '-t', 'zfs', '-o', 'zfsutil', name, path)
    try {
      return await work(path)
    } finally {
      await sh('umount', path)
      await rm(path, { recursive: true })
    }
  }
  return {
    backend: (by = exec) =>
      new ZfsBackend({ spec: parsePoolSpec(`zfs:${dataset}`), exec: by, logger: silentLogger, clock: systemClock }),
    plantForeign: async () => {
      for (const each of strangers) {
        await sh('zfs', 'create', '-o', 'mountpoint=none', `${dataset}/${each}`)
        await withMount(`${dataset}/${each}`, (path) => writeFile(join(path, 'bytes'), each))
        await sh('zfs', 'snapshot', `${dataset}/${each}@planted`)
      }
      await sh('zfs', 'set', `drover:record=2:1:${'0'.repeat(32)}`, `${dataset}/${ofNewerFormat}`)
      return {
        names: ['stranger', withoutRecord, ofNewerFormat],
        untouched: async () => {
          for (const each of strangers) {
            const path = `${dataset}/${each}`
            const written = await sh('zfs', 'get', '-H', '-p', '-o', 'value', 'written@planted', path)
            if (written.trim() !== '0') return false
          }
          return true
        },
        remove: async () => {
          for (const each of strangers) await sh('zfs', 'destroy', '-r', `${dataset}/${each}`)
        },
      }
    },
    // A snapshot of ZFS cannot be written to: at most another one is put in its place.
    tamper: async (id, snapshot) => {
      const path = await snapshotPath(id, snapshot)
      await sh('zfs', 'clone', '-o', 'mountpoint=none', '-o', 'readonly=off', path, `${dataset}/tampered`)
      await withMount(`${dataset}/tampered`, (mounted) => writeFile(join(mounted, 'data', 'tampered'), 'x'))
      await sh('zfs', 'promote', `${dataset}/tampered`)
      const home = path.slice(0, path.indexOf('@'))
      await sh('zfs', 'destroy', home)
      await sh('zfs', 'rename', `${dataset}/tampered`, home)
      await sh('zfs', 'rename', `${home}@${snapshot}`, `${home}@${snapshot}-before`)
      await sh('zfs', 'snapshot', `${home}@${snapshot}`)
    },
    nest: async (id, path) => {
      await sh('zfs', 'create', '-p', `${dataset}/${id}/live/${path}`)
    },
    // The whole path of a snapshot has at most 255, pool and volume and all.
    longestName: 100,
    interruptRemoval: async (id) => {
      await sh('zfs', 'rename', `${dataset}/${id}`, `${dataset}/drover-trash/${id}.0-0`)
    },
    interruptMaking: async (id) => {
      await sh('zfs', 'create', '-o', `drover:volume=${id}`, '-o', 'mountpoint=legacy', `${dataset}/${id}/making`)
    },
    leftovers: async () => {
      await sh('zpool', 'sync')
      return {
        datasets: await sh('zfs', 'list', '-H', '-r', '-t', 'all', '-o', 'name', dataset),
        mounts: (await ownMounts()).filter(({ source }) => source.startsWith(`${dataset}/`)),
      }
    },
    staysOpen: isInAHurry,
    dispose: pool.dispose,
  }
}
