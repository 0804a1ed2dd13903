import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { ZfsBackend } from '../../../src/backends/zfs/zfs-backend.ts'
import { parsePoolSpec } from '../../../src/domain/pool.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import { openersOf } from '../../../src/lib/mount-users.ts'
import { exec, newId, recordOf } from '../../contract/backend-bench.ts'
import { realHands } from '../../contract/hands.ts'
import { sh } from '../../support/loop-btrfs.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'
import { testZpool } from '../../support/zpool.ts'

const opened = async (properties: Readonly<Record<string, string>> = {}) => {
  const pool = await testZpool(properties)
  const spec = parsePoolSpec(`zfs:${pool.dataset}`)
  const backend = new ZfsBackend({ spec, exec, logger: silentLogger, clock: systemClock })
  await backend.open()
  onTestFinished(async () => {
    await backend.close()
    await pool.dispose()
  })
  const made = async () => {
    const id = newId()
    await backend.writeRecord(recordOf(id, backend))
    await backend.create(id, { sizeBytes: null })
    return id
  }
  return { backend, dataset: pool.dataset, made }
}

test('a mount that no namespace shows any more is found by what holds it', async () => {
  const { backend, made } = await opened()
  const id = await made()
  const path = join(await temporaryDirectory(), 'mnt')
  await backend.mount(id, path)
  const handle = await open(join(path, 'data', 'held'), 'w')
  await sh('umount', '--lazy', path)
  const mark = await backend.fingerprint(id)
  expect(mark === null ? [] : (await openersOf(mark)).map(({ pid }) => pid)).toEqual([process.pid])
  await handle.close()
  expect((await backend.fingerprint(id))?.statDevice).toBe(-1)
})

test('nobody destroys a base by accident; when somebody did, the next stream goes from its bookmark', async () => {
  const { backend, dataset, made } = await opened()
  const target = await opened()
  const id = await made()
  await target.backend.writeRecord(recordOf(id, target.backend))
  const base = await backend.snapshots.create(id, 'base', 'move')
  await ship(backend, target.backend, id, 'base', null)
  const path = `${dataset}/${id}/live@base`
  await expect(sh('zfs', 'destroy', path)).rejects.toThrow('being held')
  await sh('zfs', 'release', 'drover', path)
  await sh('zfs', 'destroy', path)
  expect(await backend.snapshots.intact(id, base)).toBe(true)
  await backend.snapshots.create(id, 'next', 'move')
  await ship(backend, target.backend, id, 'next', 'base', base.streamUuid)
  expect((await target.backend.snapshots.list(id)).map(({ name }) => name)).toEqual(['base', 'next'])
})

test('a base that is not here is an error that tells what is; nothing is made', async () => {
  const { backend, made } = await opened()
  const id = await made()
  await backend.snapshots.create(id, 's', 'user')
  await expect(backend.streams.prepareReceive(id, 'move1', '4711')).rejects.toMatchObject({
    code: 'DIVERGED',
    details: { wanted: '4711', snapshots: [expect.objectContaining({ name: 's' })] },
  })
  expect(await backend.streams.partials(id)).toEqual([])
})

test('what is encrypted is sent as it is', async () => {
  const key = join(await temporaryDirectory(), 'key')
  await realHands.writeFile(key, 'k'.repeat(32))
  const { backend, made } = await opened({ encryption: 'on', keyformat: 'raw', keylocation: `file://${key}` })
  const id = await made()
  await backend.snapshots.create(id, 's', 'user')
  expect(await backend.streams.sendCommand(id, 's', null)).toContain('-w')
})

const ship = async (
  from: ZfsBackend,
  to: ZfsBackend,
  id: ReturnType<typeof newId>,
  name: string,
  base: string | null,
  baseUuid: string | null = null,
) => {
  const receive = await to.streams.prepareReceive(id, 'move1', baseUuid)
  const { codes } = await realHands.pipe(await from.streams.sendCommand(id, name, base), receive)
  expect(codes).toEqual([0, 0])
  const sent = (await from.snapshots.list(id)).find((each) => each.name === name)
  await to.streams.finishReceive(id, 'move1', name, sent?.streamUuid ?? '')
}
