import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { createBackend } from '../../src/backends/registry.ts'
import { clusterId, hostId } from '../../src/domain/ids.ts'
import { parsePoolSpec } from '../../src/domain/pool.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { silentLogger } from '../../src/lib/logger.ts'
import { Catalog } from '../../src/volumes/catalog.ts'
import { EpochLedger } from '../../src/volumes/epoch-ledger.ts'
import { type Holder, holdersOf } from '../../src/volumes/holders.ts'
import { type Held, VolumeHost } from '../../src/volumes/host.ts'
import { createVolume } from '../../src/volumes/lifecycle.ts'
import { unmountOwned } from '../../src/volumes/mounting.ts'
import { holdersBeside, isMountedHere, proveUnused, unmountOurs } from '../../src/volumes/usage.ts'
import { exec, newId } from '../contract/backend-bench.ts'
import { type LoopBtrfs, loopBtrfs } from '../support/loop-btrfs.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'

const containerOf = 'c'.repeat(64)

describe('what keeps a volume busy', () => {
  let disk: LoopBtrfs
  let host: VolumeHost
  beforeAll(async () => {
    disk = await loopBtrfs()
    const backend = createBackend({
      spec: parsePoolSpec(`btrfs:${disk.path}`),
      exec,
      logger: silentLogger,
      clock: systemClock,
    })
    await backend.open()
    const dataDir = `${disk.path}-data`
    await mkdir(dataDir, { recursive: true })
    host = new VolumeHost({
      dataDir,
      backends: [backend],
      epochs: await EpochLedger.open(dataDir),
      catalog: await Catalog.open(dataDir),
      clock: systemClock,
      logger: silentLogger,
      identity: { clusterId: clusterId('c'.repeat(26)), hostId: hostId('h'.repeat(26)), hostName: 'host1' },
      containerNames: async () => new Map([[containerOf, 'web']]),
    })
  })
  afterAll(async () => {
    host.putOff.close()
    await host.defaultBackend().close()
    await disk.dispose()
  })

  const mounted = async (name: string): Promise<Held> => {
    const volumeId = newId()
    const { text: pool } = host.defaultBackend().spec
    await createVolume(host, { volumeId, name, pool, epoch: 1, sizeBytes: null, labels: {} })
    await host.defaultBackend().mount(volumeId, host.mountPath(volumeId))
    onTestFinished(() => host.defaultBackend().unmount(volumeId, host.mountPath(volumeId)))
    return host.mustHold(volumeId)
  }
  const dataOf = ({ record }: Held): string => join(host.mountPath(record.volumeId), 'data')

  /** Starts a process, waits for its first line. @returns its pid, and how to end it */
  const helper = async (...argv: readonly [string, ...string[]]) => {
    const child = spawn(argv[0], argv.slice(1), { stdio: ['pipe', 'pipe', 'inherit'] })
    const ended = once(child, 'exit')
    const end = async () => {
      child.kill('SIGKILL')
      await ended
    }
    onTestFinished(end)
    await once(child.stdout, 'data')
    return { pid: child.pid ?? 0, end }
  }

  test.each([
    ['a descriptor', 'exec 3<"$1/file"; echo ready; read line', ['open file']],
    ['a working directory', 'cd "$1"; echo ready; read line', ['cwd']],
    ['a program and its mapping', 'cp /bin/sleep "$1/"; echo ready; exec "$1/sleep" 600', ['program', 'mapping']],
  ] as const)('%s is named, and nothing is unmounted', async (what, script, kinds) => {
    const held = await mounted(what.replaceAll(' ', '-'))
    await writeFile(join(dataOf(held), 'file'), 'x'.repeat(8192))
    const { pid, end } = await helper('sh', '-c', script, 'sh', dataOf(held))
    await expect.poll(async () => (await holdersOf(host, held))[0]?.kinds).toEqual(kinds)
    const holder: Partial<Holder> = { pid, hostNamespace: true, containerId: null }
    await expect(unmountOurs(host, held)).rejects.toMatchObject({
      code: 'VOLUME_BUSY',
      message: expect.stringMatching(
        new RegExp(
          `on host host1 by pid ${pid} \\(.*; ${kinds.join(', ')}\\) in the host's mount namespace mnt:\\[\\d+\\]; end it`,
        ),
      ),
      details: { holders: [expect.objectContaining({ ...holder, kinds })] },
    })
    expect(await isMountedHere(host, held)).toBe(true)
    await end()
    await unmountOurs(host, held, 1_000)
    expect(await isMountedHere(host, held)).toBe(false)
  })

  test('an unmount that was put off is done by itself when the holder has gone', async () => {
    const held = await mounted('put-off')
    const { volumeId } = held.record
    const { pid, end } = await helper('sh', '-c', 'cd "$1"; echo ready; read line', 'sh', dataOf(held))
    await unmountOwned(host, volumeId, 'caller')
    expect(host.putOff.of(volumeId)?.waitsFor).toContain(`pid ${pid} (sh -c cd "$1"`)
    expect(await holdersBeside(host, held)).toEqual([expect.objectContaining({ pid, kinds: ['cwd'] })])
    expect(await isMountedHere(host, held)).toBe(true)
    await end()
    await expect.poll(() => host.putOff.of(volumeId), { timeout: 20_000 }).toBeNull()
    expect(await isMountedHere(host, held)).toBe(false)
  })

  test('a mount that leaked into another namespace is told, keeps no unmount, and is no proof of rest', async () => {
    const held = await mounted('leaked')
    const inner = join(await temporaryDirectory(), 'inner')
    await mkdir(inner)
    // As a service with a mount namespace of its own, and a container with the host's tree, come to have it.
    const copy = 'mount --bind "$1" "$2" && echo ready && read line'
    const own = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', copy, 'sh'] as const
    const { pid, end } = await helper(...own, host.mountPath(held.record.volumeId), inner)
    const leak = { pid, kinds: ['mount'], hostNamespace: false, namespace: expect.stringMatching(/^mnt:\[\d+\]$/) }
    const mountPoints = [host.mountPath(held.record.volumeId), inner]
    expect(await holdersBeside(host, held)).toEqual([expect.objectContaining({ ...leak, mountPoints })])
    await unmountOwned(host, held.record.volumeId, 'caller')
    expect(await isMountedHere(host, held)).toBe(false)
    await expect(proveUnused(host, held)).rejects.toMatchObject({
      code: 'VOLUME_BUSY',
      message: expect.stringContaining(`pid ${pid} (sh -c`),
      details: { holders: [expect.objectContaining(leak)] },
    })
    await end()
    await proveUnused(host, held)
  })
})
