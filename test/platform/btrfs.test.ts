import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createBackend } from '../../src/backends/registry.ts'
import { parsePoolSpec } from '../../src/domain/pool.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { silentLogger } from '../../src/lib/logger.ts'
import { exec, type MakePool } from '../contract/backend-bench.ts'
import { backendSuite } from '../contract/backend-suite.ts'
import { loopBtrfs, sh } from '../support/loop-btrfs.ts'

const withoutRecord = 'f'.repeat(26)
const ofNewerFormat = 'n'.repeat(26)
const strangers = [
  'stranger',
  'volumes/stranger',
  `volumes/${withoutRecord}`,
  `volumes/${ofNewerFormat}`,
  'trash/stranger',
]

/** `below`: the pool is a directory in a subvolume, not the top of the file system. */
const makePool =
  (below: string): MakePool =>
  async () => {
    const disk = await loopBtrfs()
    const where = below === '' ? disk.path : join(disk.path, 'outer', below)
    if (below !== '') {
      await sh('btrfs', 'subvolume', 'create', join(disk.path, 'outer'))
      await mkdir(where)
    }
    const volume = (id: string) => join(where, 'volumes', id)
    return {
      backend: (by = exec) =>
        createBackend({ spec: parsePoolSpec(`btrfs:${where}`), exec: by, logger: silentLogger, clock: systemClock }),
      plantForeign: async () => {
        for (const path of strangers) {
          await mkdir(join(where, path))
          await sh('btrfs', 'subvolume', 'create', join(where, path, 'live'))
          await writeFile(join(where, path, 'live', 'bytes'), path)
        }
        await writeFile(join(volume(ofNewerFormat), 'volume.json'), '{"formatVersion":2}')
        return {
          names: ['stranger', withoutRecord, ofNewerFormat],
          untouched: async () => {
            for (const path of strangers) {
              if ((await readFile(join(where, path, 'live', 'bytes'), 'utf8')) !== path) return false
            }
            return (await readdir(join(where, 'trash'))).join() === 'stranger'
          },
          remove: async () => {
            for (const path of strangers) {
              await sh('btrfs', 'subvolume', 'delete', join(where, path, 'live'))
              await rm(join(where, path), { recursive: true })
            }
          },
        }
      },
      tamper: async (id, snapshot) => {
        const path = join(volume(id), 'snapshots', snapshot, 'snap')
        await sh('btrfs', 'property', 'set', '-f', '-t', 'subvol', path, 'ro', 'false')
        await writeFile(join(path, 'data', 'tampered'), 'x')
        await sh('btrfs', 'property', 'set', '-t', 'subvol', path, 'ro', 'true')
      },
      nest: async (id, path) => void (await sh('btrfs', 'subvolume', 'create', join(volume(id), 'live', path))),
      interruptRemoval: (id) => rename(volume(id), join(where, 'trash', `${id}~0-0`)),
      interruptMaking: async (id) => void (await sh('btrfs', 'subvolume', 'create', join(volume(id), 'live.making'))),
      leftovers: async () => {
        await sh('btrfs', 'filesystem', 'sync', where)
        const groups = await sh('btrfs', 'qgroup', 'show', where).catch(() => '')
        return {
          subvolumes: (await sh('btrfs', 'subvolume', 'list', where)).match(/ path .*/g),
          // Quotas may come with the first sized volume; a group then stands for each subvolume that is left.
          staleGroups: groups.match(/<stale>/g),
          trash: await readdir(join(where, 'trash')),
        }
      },
      dispose: disk.dispose,
    }
  }

const all = { snapshots: true, streams: true, trees: true }

backendSuite('btrfs at the top of a file system', makePool(''), all)
backendSuite('btrfs in a directory of a subvolume', makePool('pool'), all)
