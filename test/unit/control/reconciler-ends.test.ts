import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { Reconciler } from '../../../src/control/reconciler.ts'
import { DroverError } from '../../../src/domain/errors.ts'
import type { Host } from '../../../src/domain/host.ts'
import { moveId } from '../../../src/domain/ids.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import type { Agent } from '../../../src/migrate/agent.ts'
import { openSqliteStore } from '../../../src/state/sqlite-store.ts'
import { makeMove, volumeRow } from '../../contract/store-suite.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'

const idOf = (letter: string, count = 1) => moveId(`${letter}${String(count).padStart(25, '0')}`)
const inMove = idOf('m')

/** The source of an open move, and a record there of what that would be about. */
const source = async () => {
  const store = await openSqliteStore({ path: join(await temporaryDirectory(), 'state.db'), clock: systemClock })
  onTestFinished(() => store.close())
  const volume = await store.insertVolume(volumeRow(1))
  const host: Host = {
    ...{ id: volume.ownerHostId, name: 'host1', address: '', dataAddress: '', pools: [] },
    ...{ control: true, fingerprint: '', joinedAt: '' },
  }
  await store.putHost(host)
  const move = await store.beginMove(volume, (...epochs) => ({ ...makeMove(1, volume)(...epochs), id: inMove }))
  const abort = () => store.abortMove(inMove, 1, { code: 'MOVE_FAILED', message: '' }, '')
  const record = { volumeId: volume.id, name: volume.name, role: 'owner', epoch: 1, moveId: null, hostId: host.id }
  const heard: string[] = []
  const run = async (there: { records?: object[]; kept?: string[]; isOlder?: boolean }) => {
    heard.splice(0)
    const agent = (): Agent =>
      ({
        holdings: async () => there.records ?? [],
        undoSource: async ({ moveId: id }: { moveId: string }) => void heard.push(`undo ${id}`),
        keptDigests: async () => {
          if (there.isOlder === true) throw new DroverError('NO_SUCH_ROUTE', 'agents have no call keptDigests')
          return there.kept ?? []
        },
        endDigest: async ({ verificationId }: { verificationId: string }) => void heard.push(`end ${verificationId}`),
      }) as Partial<Agent> as Agent
    reconciler ??= new Reconciler({ store, agent: () => current(), logger: silentLogger, clock: systemClock })
    current = agent
    answered = await reconciler.run()
    return [...heard]
  }
  let current = (): Agent => ({}) as Partial<Agent> as Agent
  let reconciler: Reconciler | null = null
  let answered = false
  return {
    abort,
    run,
    hasAnswered: () => answered,
    record: { ...record, pool: move.sourcePool, endedMoves: [] as string[] },
  }
}

test('a source that may have missed the begin of an aborted move hears of the end, once, where its copy is', async () => {
  const { abort, run, record } = await source()
  expect(await run({ records: [record] })).toEqual([])
  await abort()
  expect(await run({ records: [] })).toEqual([])
  expect(await run({ records: [{ ...record, pool: 'btrfs:/elsewhere' }] })).toEqual([])
  expect(await run({ records: [{ ...record, hostId: idOf('x') }] })).toEqual([])
  expect(await run({ records: [record] })).toEqual([`undo ${inMove}`])
  expect(await run({ records: [record] })).toEqual([])
})

test('how far the content proof of a move was goes when the move has ended, and not before', async () => {
  const { abort, run } = await source()
  expect(await run({ kept: [inMove] })).toEqual([])
  await abort()
  expect(await run({ kept: [inMove] })).toEqual([`end ${inMove}`])
})

test('of a move that the store does not know it goes when the host remembers its end; vol verify goes on with its own', async () => {
  const { run, record } = await source()
  const [ended, unheardOf] = [idOf('e'), idOf('u')]
  const kept = [ended, unheardOf, `verify.${record.volumeId}.${record.hostId}`]
  expect(await run({ kept, records: [{ ...record, endedMoves: [ended] }] })).toEqual([`end ${ended}`])
})

test('a host whose vold keeps no such proofs yet has nothing left of them: it is not asked again and again', async () => {
  const { run, hasAnswered } = await source()
  expect(await run({ isOlder: true })).toEqual([])
  expect(hasAnswered()).toBe(true)
})
