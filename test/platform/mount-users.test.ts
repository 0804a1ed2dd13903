import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, open, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import type { Backend, DatasetFingerprint } from '../../src/backends/backend.ts'
import { createBackend } from '../../src/backends/registry.ts'
import type { VolumeId } from '../../src/domain/ids.ts'
import { parsePoolSpec } from '../../src/domain/pool.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { silentLogger } from '../../src/lib/logger.ts'
import { mountsOf, openersOf } from '../../src/lib/mount-users.ts'
import { exec, newId } from '../contract/backend-bench.ts'
import { type LoopBtrfs, loopBtrfs, sh } from '../support/loop-btrfs.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'

describe('who uses a dataset', () => {
  let disk: LoopBtrfs
  let backend: Backend
  let id: VolumeId
  let mark: DatasetFingerprint
  let path: string

  beforeAll(async () => {
    disk = await loopBtrfs()
    backend = createBackend({
      spec: parsePoolSpec(`btrfs:${disk.path}`),
      exec,
      logger: silentLogger,
      clock: systemClock,
    })
    await backend.open()
    id = newId()
    await backend.create(id, { sizeBytes: null })
    mark = (await backend.fingerprint(id)) ?? { device: '', root: '', statDevice: 0 }
    path = `${disk.path}-mnt`
  })
  afterAll(async () => {
    await backend.close()
    await disk.dispose()
  })

  const mounted = async () => {
    await backend.mount(id, path)
    onTestFinished(() => backend.unmount(id, path))
    return join(path, 'data')
  }
  /** Starts a process, waits for its first line, ends it with the test. */
  const helper = async (...argv: readonly [string, ...string[]]): Promise<number> => {
    const child = spawn(argv[0], argv.slice(1), { stdio: ['pipe', 'pipe', 'inherit'] })
    const ended = once(child, 'exit')
    onTestFinished(async () => {
      child.kill('SIGKILL')
      await ended
    })
    await once(child.stdout, 'data')
    return child.pid ?? 0
  }
  const whatOf = async (pid: number) => (await openersOf(mark)).find((opener) => opener.pid === pid)?.what

  test('nobody', async () => {
    expect(await mountsOf(mark)).toEqual([])
    expect(await openersOf(mark)).toEqual([])
  })

  test('mounts: ours, a directory of it, one in another mount namespace; not another volume', async () => {
    const data = await mounted()
    const other = newId()
    await backend.create(other, { sizeBytes: null })
    await backend.mount(other, `${path}-other`)
    onTestFinished(() => backend.unmount(other, `${path}-other`))
    expect(await mountsOf(mark)).toEqual([
      expect.objectContaining({ mountPoint: path, own: true, root: `/volumes/${id}/live` }),
    ])
    const inner = join(await temporaryDirectory(), 'inner')
    await mkdir(inner)
    const pid = await helper(
      'unshare',
      '--mount',
      '--propagation',
      'private',
      'sh',
      '-c',
      'umount "$1" && mount --bind "$2" "$3" && echo ready && read line',
      'sh',
      path,
      join(disk.path, 'volumes', id, 'live/data'),
      inner,
    )
    const mounts = await mountsOf(mark)
    expect(mounts.filter((mount) => mount.own).map((mount) => mount.mountPoint)).toEqual([path])
    expect(mounts.filter((mount) => !mount.own)).toEqual([
      expect.objectContaining({ mountPoint: inner, pid, root: `/volumes/${id}/live/data` }),
    ])
    expect(data).toBe(join(path, 'data'))
  })

  test('descriptors, working directories, mappings and programs', async () => {
    const data = await mounted()
    await writeFile(join(data, 'file'), 'x'.repeat(8192))
    const handle = await open(join(data, 'file'))
    try {
      expect(await whatOf(process.pid)).toEqual([`fd ${handle.fd}`])
    } finally {
      await handle.close()
    }
    expect(await whatOf(process.pid)).toBeUndefined()
    const cwd = await helper('sh', '-c', 'cd "$1"; echo ready; read line', 'sh', data)
    expect(await whatOf(cwd)).toEqual(['cwd'])
    await sh('cp', '/bin/sleep', join(data, 'sleep'))
    const program = await helper('sh', '-c', 'echo ready; exec "$1" 600', 'sh', join(data, 'sleep'))
    await expect.poll(() => whatOf(program)).toEqual(['exe', 'mapping'])
    const command = (await openersOf(mark)).find((opener) => opener.pid === program)?.command
    expect(command).toBe(`${join(data, 'sleep')} 600`)
  })
})
