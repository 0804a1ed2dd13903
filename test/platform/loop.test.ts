import { randomUUID } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createBackend } from '../../src/backends/registry.ts'
import { parsePoolSpec } from '../../src/domain/pool.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { silentLogger } from '../../src/lib/logger.ts'
import { exec, type MakePool } from '../contract/backend-bench.ts'
import { backendSuite } from '../contract/backend-suite.ts'
import { growsMounted } from '../support/grows-mounted.ts'
import { sh } from '../support/loop-btrfs.ts'
import { loopDisk } from '../support/loop-disk.ts'

const withoutRecord = 'f'.repeat(26)
const ofNewerFormat = 'n'.repeat(26)
const strangers = [
  'stranger',
  'volumes/stranger',
  `volumes/${withoutRecord}`,
  `volumes/${ofNewerFormat}`,
  'trash/stranger',
  'devices/stranger',
]

const makePool =
  (kind: 'xfs' | 'ext4'): MakePool =>
  async () => {
    const disk = await loopDisk(kind)
    const where = join(disk.path, 'pool')
    await mkdir(where)
    const volume = (id: string) => join(where, 'volumes', id)
    const deviceOf = async (note: string) =>
      join(where, 'devices', String(JSON.parse(await readFile(note, 'utf8')).device))
    return {
      backend: (by = exec) =>
        createBackend({ spec: parsePoolSpec(`loop:${where}`), exec: by, logger: silentLogger, clock: systemClock }),
      plantForeign: async () => {
        for (const path of strangers) {
          await mkdir(join(where, path))
          await writeFile(join(where, path, 'bytes'), path)
        }
        await writeFile(join(volume(ofNewerFormat), 'volume.json'), '{"formatVersion":2}')
        return {
          names: ['stranger', withoutRecord, ofNewerFormat],
          untouched: async () => {
            for (const path of strangers) {
              if ((await readFile(join(where, path, 'bytes'), 'utf8')) !== path) return false
            }
            return (await readdir(join(where, 'trash'))).join() === 'stranger'
          },
          remove: async () => {
            for (const path of strangers) await rm(join(where, path), { recursive: true })
          },
        }
      },
      tamper: async (id, snapshot) => {
        const device = await deviceOf(join(volume(id), 'snapshots', `${snapshot}.json`))
        await sh('chattr', '-i', device)
        await sh('sh', '-c', 'printf x | dd of="$0" bs=1 seek=65536 conv=notrunc 2>/dev/null', device)
        await sh('chattr', '+i', device)
      },
      growsMounted,
      interruptRemoval: (id) => rename(volume(id), join(where, 'trash', `${id}~${randomUUID()}`)),
      interruptMaking: async (id) => {
        const device = `${id}.${randomUUID()}`
        await mkdir(join(volume(id), 'making'), { recursive: true })
        await writeFile(join(volume(id), 'making', 'live.json'), JSON.stringify({ device }))
        await writeFile(join(where, 'devices', device), 'half')
      },
      leftovers: async () => {
        const loops = await sh('losetup', '--list', '--noheadings', '--raw', '--output', 'BACK-FILE')
        return {
          devices: await readdir(join(where, 'devices')),
          trash: await readdir(join(where, 'trash')),
          views: await readdir(join(where, 'views')),
          loops: loops.split('\n').filter((path) => path.startsWith(where)),
        }
      },
      dispose: disk.dispose,
    }
  }

const all = { snapshots: true, streams: true, trees: true, resuming: true }

backendSuite('loop on xfs, which shares extents', makePool('xfs'), all)
backendSuite('loop on ext4, by copies', makePool('ext4'), all)
