import { randomUUID } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { LvmThinBackend } from '../../../src/backends/block/lvm-thin.ts'
import { parsePoolSpec } from '../../../src/domain/pool.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import { ownMounts } from '../../../src/lib/mountinfo.ts'
import { exec, type MakePool } from '../../contract/backend-bench.ts'
import { isInAHurry } from '../../support/in-a-hurry.ts'
import { sh } from '../../support/loop-btrfs.ts'
import { testThinPool } from '../../support/thin-pool.ts'

const withoutRecord = 'f'.repeat(26)
const ofNewerFormat = 'n'.repeat(26)
const strangers = [
  'stranger',
  'volumes/stranger',
  `volumes/${withoutRecord}`,
  `volumes/${ofNewerFormat}`,
  'trash/stranger',
]
/** One has a name as Drover gives it: only the tag says whose it is. */
const strangeDevice = `${'d'.repeat(26)}.${randomUUID()}`
const strangeVolumes = ['stranger', `drover.${strangeDevice}`]

/** A thin pool of LVM in a file, for the contract suite. */
export const makePool: MakePool = async () => {
  const pool = await testThinPool()
  const { group, notes } = pool
  const volume = (id: string) => join(notes, 'volumes', id)
  const devices = `/dev/mapper/${group.replaceAll('-', '--')}-`
  const deviceOf = async (note: string): Promise<string> =>
    `${group}/drover.${JSON.parse(await readFile(note, 'utf8')).device}`
  return {
    backend: (by = exec) =>
      new LvmThinBackend({
        spec: parsePoolSpec(`lvm:${pool.where}`),
        exec: by,
        logger: silentLogger,
        clock: systemClock,
      }),
    plantForeign: async () => {
      for (const path of strangers) {
        await mkdir(join(notes, path))
        await writeFile(join(notes, path, 'bytes'), path)
      }
      await writeFile(join(volume(ofNewerFormat), 'volume.json'), '{"formatVersion":2}')
      for (const name of strangeVolumes) {
        await sh('lvcreate', '-q', '-y', '--type', 'thin', '--thinpool', 'thin-pool', '-V', '8M', '-n', name, group)
        await writeFile(`/dev/${group}/${name}`, name, { flag: 'r+' })
      }
      // A note of something that is not Drover's, out of sight: what it names bears no tag of Drover's.
      const entry = join(notes, 'trash', `${'d'.repeat(26)}~${randomUUID()}.json`)
      await writeFile(entry, JSON.stringify({ device: strangeDevice }))
      return {
        names: ['stranger', withoutRecord, ofNewerFormat],
        untouched: async () => {
          for (const path of strangers) {
            if ((await readFile(join(notes, path, 'bytes'), 'utf8')) !== path) return false
          }
          for (const name of strangeVolumes) {
            if (!(await sh('head', '-c', '100', `/dev/${group}/${name}`)).startsWith(name)) return false
          }
          return (await readdir(join(notes, 'trash'))).join() === 'stranger'
        },
        remove: async () => {
          for (const path of strangers) await rm(join(notes, path), { recursive: true })
          for (const name of strangeVolumes) await sh('lvremove', '-q', '-y', `${group}/${name}`)
        },
      }
    },
    tamper: async (id, snapshot) => {
      const device = await deviceOf(join(volume(id), 'snapshots', `${snapshot}.json`))
      await sh('lvchange', '-q', '-prw', device)
      await sh('sh', '-c', 'printf x | dd of="/dev/$0" bs=1 seek=65536 conv=notrunc,fsync 2>/dev/null', device)
      await sh('lvchange', '-q', '-pr', device)
    },
    interruptRemoval: (id) => rename(volume(id), join(notes, 'trash', `${id}~${randomUUID()}`)),
    interruptMaking: async (id) => {
      const device = `${id}.${randomUUID()}`
      await mkdir(join(volume(id), 'making'), { recursive: true })
      await writeFile(join(volume(id), 'making', 'live.json'), JSON.stringify({ device }))
      const options = ['--type', 'thin', '--thinpool', 'thin-pool', '-V', '8M', '--addtag', 'drover', '-kn']
      await sh('lvcreate', '-q', '-y', ...options, '-n', `drover.${device}`, group)
    },
    leftovers: async () => ({
      volumes: (await sh('lvs', '--noheadings', '-o', 'lv_name', group)).split('\n').map((name) => name.trim()),
      trash: await readdir(join(notes, 'trash')),
      views: await readdir(join(notes, 'views')),
      ranges: await readdir(join(notes, '..', 'ranges')),
      metadata: (await sh('dmsetup', 'status', `${group.replaceAll('-', '--')}-thin--pool-tpool`)).split(' ')[6],
      marker: (await readdir(notes)).includes('metadata-snapshot'),
      // The place of the views is one, as long as the pool is open.
      mounts: (await ownMounts()).filter(
        ({ source, mountPoint }) => source.startsWith(devices) && mountPoint !== join(notes, 'views'),
      ),
    }),
    staysOpen: isInAHurry,
    dispose: pool.dispose,
  }
}
