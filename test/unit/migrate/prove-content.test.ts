import { expect, test } from 'vitest'
import type { Host } from '../../../src/domain/host.ts'
import { hostId, moveId, volumeId } from '../../../src/domain/ids.ts'
import type { MoveRecord } from '../../../src/domain/move.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import type { Agent } from '../../../src/migrate/agent.ts'
import type { MoveContext } from '../../../src/migrate/move-context.ts'
import { intactOf } from '../../../src/migrate/move-snapshots.ts'
import { noteContent } from '../../../src/migrate/verification/kept-copies.ts'
import { proveContent } from '../../../src/migrate/verification/prove-content.ts'
import type { Store } from '../../../src/state/store.ts'
import { recordOf } from '../../contract/backend-bench.ts'
import { memoryDigests } from '../../simulation/digests.ts'
import { type MemoryHost, memoryHost } from '../../support/memory-host.ts'

const volume = volumeId('v'.repeat(26))
const command = { volumeId: volume, volumeName: 'db', moveId: moveId('m'.repeat(26)), epoch: 2, returnEpoch: 3 }

/** A host that holds S, with these words in its only file. */
const holder = async (words: string, role: 'owner' | 'replica'): Promise<MemoryHost & { agent: Agent }> => {
  const made = await memoryHost()
  const { host, backend, pool, kernel, files } = made
  await backend.create(volume, { sizeBytes: null })
  const live = pool.volumes.get(volume)?.live
  if (live != null) pool.write(live, 'data/file', Buffer.from(words))
  const snapshot = await backend.snapshots.create(volume, 'S', 'move')
  await backend.writeRecord({
    ...recordOf(volume, backend),
    volumeId: volume,
    role,
    snapshots: [snapshot],
    keepUntil: '2026-11-25T00:00:00.000Z',
  })
  const digests = memoryDigests(kernel, files)
  const agent: Partial<Agent> = {
    digestSnapshot: ({ waitMs, ...task }) => digests.status(backend, task, waitMs),
    digestChunks: ({ verificationId, from, limit }) => digests.chunks(verificationId, from, limit),
    digestItems: ({ start, ...task }) => digests.items(backend, task, start),
    endDigest: ({ verificationId }) => digests.end(verificationId),
    noteContent: (args) => noteContent(host, args),
  }
  return { ...made, agent: agent as Agent }
}

const contextOf = (source: Agent, target: Agent): MoveContext => {
  const events: string[] = []
  let stored = { id: command.moveId, volumeName: 'db', version: 1, error: null } as unknown as MoveRecord
  const store: Partial<Store> = {
    move: async () => stored,
    updateMove: async (next) => {
      stored = next
      return next
    },
  }
  const hostOf = (name: string) => ({ id: hostId('h'.repeat(26)), name }) as Host
  return {
    parts: { store, clock: systemClock, emit: async (type: string) => void events.push(type) },
    sourceHost: hostOf('host1'),
    targetHost: hostOf('host2'),
    source,
    target,
    command,
    signal: new AbortController().signal,
    move: stored,
  } as unknown as MoveContext
}

const heldOf = async ({ host }: MemoryHost) => host.mustHold(volume)

test('equal: the receipt is journaled, the base stays a base', async () => {
  const [source, target] = [await holder('same', 'replica'), await holder('same', 'owner')]
  const context = contextOf(source.agent, target.agent)
  await proveContent(context, 'S')
  expect(context.move).toMatchObject({ error: null, verification: { state: 'equal', snapshot: 'S' } })
  expect(await intactOf(await heldOf(source))).toHaveLength(1)
  expect((await heldOf(source)).record.keepUntil).not.toBeNull()
})

test('unlike: the file is named, both copies are kept, neither is a base; equal again, they are as before', async () => {
  const [source, target] = [await holder('same', 'replica'), await holder('sane', 'owner')]
  const context = contextOf(source.agent, target.agent)
  await proveContent(context, 'S')
  expect(context.move.verification).toMatchObject({
    state: 'differs',
    differences: [{ path: 'data/file', what: 'bytes' }],
  })
  expect(context.move.error).toMatchObject({ code: 'CONTENT_DIFFERS' })
  expect(context.move.error?.message).toContain('first data/file (bytes)')
  for (const side of [source, target]) expect(await intactOf(await heldOf(side))).toEqual([])
  expect((await heldOf(source)).record.keepUntil).toBeNull()
  for (const { agent } of [source, target]) await agent.noteContent({ volumeId: volume, snapshot: 'S', differs: false })
  for (const side of [source, target]) expect(await intactOf(await heldOf(side))).toHaveLength(1)
  expect((await heldOf(source)).record.keepUntil).not.toBeNull()
})

test('not to be compared: that is told, and nothing is concluded of the content', async () => {
  const [source, target] = [await holder('same', 'replica'), await holder('same', 'owner')]
  await source.backend.snapshots.destroy(volume, 'S')
  const context = contextOf(source.agent, target.agent)
  await proveContent(context, 'S')
  expect(context.move).toMatchObject({ error: { code: 'COMMAND_FAILED' }, verification: { state: 'failed' } })
  expect(await intactOf(await heldOf(target))).toHaveLength(1)
})
