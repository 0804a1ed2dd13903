import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { ZfsBackend } from '../../../src/backends/zfs/zfs-backend.ts'
import type { VolumeId } from '../../../src/domain/ids.ts'
import { parsePoolSpec } from '../../../src/domain/pool.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import { exec, mib, newId, recordOf } from '../../contract/backend-bench.ts'
import { realHands } from '../../contract/hands.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'
import { testZpool } from '../../support/zpool.ts'

const opened = async (): Promise<ZfsBackend> => {
  const pool = await testZpool()
  const spec = parsePoolSpec(`zfs:${pool.dataset}`)
  const backend = new ZfsBackend({ spec, exec, logger: silentLogger, clock: systemClock })
  await backend.open()
  onTestFinished(async () => {
    await backend.close()
    await pool.dispose()
  })
  return backend
}

test('a stream whose processes were killed at 90% goes on with the rest, in full and upon a base', async () => {
  const [source, target] = [await opened(), await opened()]
  const id: VolumeId = newId()
  await source.writeRecord(recordOf(id, source))
  await source.create(id, { sizeBytes: null })
  await target.writeRecord(recordOf(id, target))
  const path = join(await temporaryDirectory(), 'mnt')
  await source.mount(id, path)
  onTestFinished(() => source.unmount(id, path))
  let before: { name: string; streamUuid: string } | null = null
  for (const name of ['s1', 's2']) {
    await realHands.writeFile(join(path, 'data', name), randomBytes(160 * mib), { flush: true })
    const sent = await source.snapshots.create(id, name, 'move')
    const [base, baseUuid] = before === null ? [null, null] : [before.name, before.streamUuid]
    const receive = await target.streams.prepareReceive(id, 'move1', baseUuid)
    expect(
      await target.streams.resuming.resumeReceive(id, 'move1', { streamUuid: sent.streamUuid, baseUuid }),
    ).toBeNull()
    await realHands.cutOff(await source.streams.sendCommand(id, name, base), receive, 144 * mib)
    // Of another snapshot, or upon another base, it is nothing that could go on.
    expect(await target.streams.resuming.resumeReceive(id, 'move1', { streamUuid: '4711', baseUuid })).toBeNull()
    expect(
      await target.streams.resuming.resumeReceive(id, 'move1', { streamUuid: sent.streamUuid, baseUuid: '4711' }),
    ).toBeNull()
    const rest = await target.streams.resuming.resumeReceive(id, 'move1', { streamUuid: sent.streamUuid, baseUuid })
    if (rest === null) throw new Error('nothing was kept')
    const { codes, bytes } = await realHands.pipe(
      await source.streams.resuming.resumeSend(id, name, base, rest.token),
      rest.argv,
    )
    expect(codes).toEqual([0, 0])
    // The last tenth had not been sent; of what had, at most 12% goes again.
    expect(bytes).toBeLessThan((0.1 + 0.12) * 160 * mib)
    await target.streams.finishReceive(id, 'move1', name, sent.streamUuid)
    const digest = (on: ZfsBackend) =>
      on.snapshots.withPath(id, name, async (at) => realHands.digestTree(join(at, 'data')))
    expect(await digest(target)).toBe(await digest(source))
    before = sent
  }
})
