import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { expect } from 'vitest'
import type { Backend, SnapshotFacet, StreamFacet } from '../../../src/backends/backend.ts'
import type { VolumeId } from '../../../src/domain/ids.ts'
import { exec, mib, newId, raise, recordOf } from '../../contract/backend-bench.ts'
import { carryStream } from '../../contract/backend-stream-suite.ts'
import { realHands } from '../../contract/hands.ts'
import { digestOf } from '../../support/tree-digest.ts'
import { mark, type State, type Step } from './state.ts'
import { opened, storages } from './storage.ts'

/** What runs in the guest, one step a boot: steps.ts KIND STEP [STATE] */
const [kind = '', step = '', told = ''] = process.argv.slice(2)
const storage = storages[kind] ?? raise(`no storage ${kind}`)
const bulkBytes = 24 * mib

const snapshotsOf = (on: Backend): SnapshotFacet => on.snapshots ?? raise('no snapshots')
const streamsOf = (on: Backend): StreamFacet => on.streams ?? raise('no streams')
const digest = (on: Backend, id: VolumeId, name: string) =>
  snapshotsOf(on).withPath(id, name, async (path) => digestOf(join(path, 'data')))

const mounted = async <T>(on: Backend, id: VolumeId, use: (data: string) => Promise<T>): Promise<T> => {
  const path = join(await mkdtemp('/var/tmp/drover-'), 'mnt')
  await on.mount(id, path)
  return use(join(path, 'data')).finally(() => on.unmount(id, path))
}

/** The power may fail from here on. */
const acknowledged = (state: State): void => void process.stdout.write(`${mark}${JSON.stringify(state)}\n`)

/** Half of it quickly, and then drop by drop until the power fails. */
const beginReceive = async (from: Backend, to: Backend, id: VolumeId, atHalf: () => void): Promise<void> => {
  const receiver = exec.spawn(await streamsOf(to).prepareReceive(id, 'move1'), ['pipe', 'ignore', 'inherit'])
  const version = streamsOf(to).version
  const sender = exec.spawn(await streamsOf(from).sendCommand(id, 's1', null, version), ['ignore', 'pipe', 'inherit'])
  const { stdin } = receiver
  if (stdin === null || sender.stdout === null) throw new Error('no pipes')
  let bytes = 0
  for await (const chunk of sender.stdout as AsyncIterable<Buffer>) {
    const isLate = bytes > bulkBytes / 2
    if (!isLate && bytes + chunk.length > bulkBytes / 2) atHalf()
    if (isLate) await wait(1000)
    if (!stdin.write(chunk)) await once(stdin, 'drain')
    bytes += chunk.length
  }
}

const receive = async (): Promise<void> => {
  await storage.make()
  const [from, to] = [await opened(storage.source), await opened(storage.target)]
  const id = newId()
  const source = recordOf(id, from)
  const target = { ...recordOf(id, to), role: 'receiving' as const }
  await from.writeRecord(source)
  await to.writeRecord(target)
  await from.create(id, { sizeBytes: 128 * mib })
  await mounted(from, id, async (data) => {
    await realHands.plantHostileTree(data)
    await realHands.writeFile(join(data, 'bulk'), randomBytes(bulkBytes))
  })
  const sent = await snapshotsOf(from).create(id, 's1', 'move')
  const state = { source, target, sent, received: null, digest: await digest(from, id, 's1') }
  await beginReceive(from, to, id, () => acknowledged(state))
}

/** After a boot: both pools sound, and on them what was acknowledged, whole, and nothing else. */
const afterBoot = async (state: State) => {
  await storage.bringBack()
  const [from, to] = [await opened(storage.source), await opened(storage.target)]
  const id = state.source.volumeId
  expect(await from.list()).toEqual({ records: [state.source], foreign: [] })
  expect(await to.list()).toEqual({ records: [state.target], foreign: [] })
  expect((await snapshotsOf(from).list(id)).map(({ name }) => name)).toEqual(['s1'])
  expect(await snapshotsOf(from).intact(id, state.sent)).toBe(true)
  expect(await digest(from, id, 's1')).toBe(state.digest)
  return { from, to, id }
}

const finish = async (state: State): Promise<void> => {
  const { from, to, id } = await afterBoot(state)
  expect(await snapshotsOf(to).list(id)).toEqual([])
  expect(await streamsOf(to).partials(id)).toEqual(['move1'])
  expect(await to.live(id)).toBeNull()

  const { received } = await carryStream({ hands: realHands }, { from, to, id, sent: state.sent, base: null })
  await streamsOf(to).promote(id, 's1', { sizeBytes: 128 * mib })
  const [source, target] = [
    { ...state.source, role: 'replica' as const, epoch: 2, seen: 2 },
    { ...state.target, role: 'owner' as const, epoch: 2, seen: 2 },
  ]
  await from.writeRecord(source)
  await to.writeRecord(target)
  acknowledged({ ...state, source, target, received })
  await once(process, 'SIGTERM')
}

const settle = async (state: State): Promise<void> => {
  const { from, to, id } = await afterBoot(state)
  expect((await snapshotsOf(to).list(id)).map(({ name }) => name)).toEqual(['s1'])
  expect(await snapshotsOf(to).intact(id, state.received ?? raise('nothing was received'))).toBe(true)
  expect(await streamsOf(to).partials(id)).toEqual([])
  expect(await digest(to, id, 's1')).toBe(state.digest)
  await mounted(to, id, async (data) => {
    expect(digestOf(data)).toBe(state.digest)
    await realHands.writeFile(join(data, 'after'), 'the cut')
  })
  // And the way back goes upon what was there before.
  const sent = await snapshotsOf(to).create(id, 's2', 'move')
  const { bytes } = await carryStream({ hands: realHands }, { from: to, to: from, id, sent, base: 's1' })
  expect(bytes).toBeLessThan(bulkBytes / 4)
  expect(await digest(from, id, 's2')).toBe(await digest(to, id, 's2'))
}

const state = (): State => JSON.parse(told)
const work: Readonly<Record<Step, () => Promise<void>>> = {
  receive,
  finish: () => finish(state()),
  settle: () => settle(state()),
}
await (work[step as Step] ?? raise(`no step ${step}`))()
