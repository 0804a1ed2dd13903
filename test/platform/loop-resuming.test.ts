import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import type { Backend, ResumingFacet } from '../../src/backends/backend.ts'
import { createBackend } from '../../src/backends/registry.ts'
import { parsePoolSpec } from '../../src/domain/pool.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { silentLogger } from '../../src/lib/logger.ts'
import { exec, mib, newId, raise, recordOf } from '../contract/backend-bench.ts'
import { realHands } from '../contract/hands.ts'
import { loopDisk } from '../support/loop-disk.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'

const fileBytes = 160 * mib

const opened = async (): Promise<Backend> => {
  const disk = await loopDisk('xfs')
  const spec = parsePoolSpec(`loop:${disk.path}`)
  const backend = createBackend({ spec, exec, logger: silentLogger, clock: systemClock })
  await backend.open()
  onTestFinished(async () => {
    await backend.close()
    await disk.dispose()
  })
  return backend
}

const partsOf = ({ snapshots, streams }: Backend) => {
  const resuming: ResumingFacet = streams?.resuming ?? raise('streams that do not go on')
  return { snapshots: snapshots ?? raise('no snapshots'), streams: streams ?? raise('no streams'), resuming }
}

test('a stream whose processes were killed at 90% sends at most 12% again, in full and upon a base', async () => {
  const [source, target] = [await opened(), await opened()]
  const [from, to] = [partsOf(source), partsOf(target)]
  const id = newId()
  await source.writeRecord(recordOf(id, source))
  await source.create(id, { sizeBytes: 400 * mib })
  await target.writeRecord(recordOf(id, target))
  const path = join(await temporaryDirectory(), 'mnt')
  await source.mount(id, path)
  onTestFinished(() => source.unmount(id, path))
  let before: { name: string; streamUuid: string } | null = null
  for (const name of ['s1', 's2']) {
    await realHands.writeFile(join(path, 'data', name), randomBytes(fileBytes), { flush: true })
    const sent = await from.snapshots.create(id, name, 'move')
    const [base, baseUuid] = before === null ? [null, null] : [before.name, before.streamUuid]
    const receive = await to.streams.prepareReceive(id, 'move1', baseUuid)
    await realHands.cutOff(await from.streams.sendCommand(id, name, base), receive, 0.9 * fileBytes)
    const rest = await to.resuming.resumeReceive(id, 'move1', { streamUuid: sent.streamUuid, baseUuid })
    if (rest === null) throw new Error('nothing was kept')
    const { codes, bytes } = await realHands.pipe(await from.resuming.resumeSend(id, name, base, rest.token), rest.argv)
    expect(codes).toEqual([0, 0])
    // The last tenth had not been sent; of what had, at most 12% goes again.
    expect(bytes).toBeLessThan((0.1 + 0.12) * fileBytes)
    await to.streams.finishReceive(id, 'move1', name, sent.streamUuid)
    const digest = (on: typeof from) =>
      on.snapshots.withPath(id, name, async (at) => realHands.digestTree(join(at, 'data')))
    expect(await digest(to)).toBe(await digest(from))
    before = sent
  }
})
