import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { ZfsBackend } from '../../src/backends/zfs/zfs-backend.ts'
import type { VolumeId } from '../../src/domain/ids.ts'
import { parsePoolSpec } from '../../src/domain/pool.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { createExec } from '../../src/lib/exec.ts'
import { silentLogger } from '../../src/lib/logger.ts'
import { newId, recordOf } from '../../test/contract/backend-bench.ts'
import { run } from '../transfer-pools.ts'

/** A zpool in a file, not compressed, with a pool of Drover's for each end and a dataset for what is compared with it. */
export interface ZfsPools {
  readonly zpool: string
  readonly source: ZfsBackend
  readonly target: ZfsBackend
  /** For what others receive. */
  readonly plain: string
  close(): Promise<void>
}

/** A volume that is mounted at the source, and known at the target as when a move begins. */
export interface BenchVolume {
  readonly id: VolumeId
  /** Its file system at the source. */
  readonly dataset: string
  readonly file: string
  unmount(): Promise<void>
}

export const openZfsPools = async (directory: string): Promise<ZfsPools> => {
  const file = join(directory, 'disk')
  const zpool = `bench${process.pid}`
  run('truncate', '--size', '16G', file)
  run('zpool', 'create', '-O', 'compression=off', '-O', 'mountpoint=none', '-o', 'cachefile=none', zpool, file)
  const open = async (name: string): Promise<ZfsBackend> => {
    run('zfs', 'create', `${zpool}/${name}`)
    const spec = parsePoolSpec(`zfs:${zpool}/${name}`)
    const parts = { exec: createExec(silentLogger), logger: silentLogger, clock: systemClock }
    const backend = new ZfsBackend({ spec, ...parts })
    await backend.open()
    return backend
  }
  const [source, target] = [await open('source'), await open('target')]
  run('zfs', 'create', `${zpool}/plain`)
  return {
    ...{ zpool, source, target, plain: `${zpool}/plain` },
    close: async () => {
      await source.close()
      await target.close()
      run('zpool', 'destroy', '-f', zpool)
    },
  }
}

export const makeVolume = async ({ source, target }: ZfsPools, directory: string): Promise<BenchVolume> => {
  const id = newId()
  await source.writeRecord(recordOf(id, source))
  await source.create(id, { sizeBytes: null })
  await target.writeRecord(recordOf(id, target))
  const path = join(directory, `mnt-${id}`)
  mkdirSync(path)
  await source.mount(id, path)
  return {
    ...{ id, dataset: `${source.spec.where}/${id}/live`, file: join(path, 'data', 'file') },
    unmount: () => source.unmount(id, path),
  }
}
