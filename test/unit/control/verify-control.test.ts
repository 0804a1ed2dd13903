import { expect, test } from 'vitest'
import type { ControlParts } from '../../../src/control/parts.ts'
import { Verifications } from '../../../src/control/verify-control.ts'
import { DroverError } from '../../../src/domain/errors.ts'
import type { Agent } from '../../../src/migrate/agent.ts'

const snapshot = (differs: boolean) => ({ name: 's1', uuid: 'u', streamUuid: 'u', ...(differs ? { differs } : {}) })

/** host1 owns db and kept s1 to compare with; host2 and host3 each have a replica that differs. */
const cluster = () => {
  const copies = new Map([
    ['host1', { role: 'owner', snapshots: [snapshot(true)] }],
    ['host2', { role: 'replica', snapshots: [snapshot(true)] }],
    ['host3', { role: 'replica', snapshots: [snapshot(true)] }],
  ])
  const silent = new Set<string>()
  const agent = ({ name }: { name: string }) =>
    ({
      holding: async () => {
        if (silent.has(name)) throw new DroverError('HOST_UNREACHABLE', 'no answer')
        const record = copies.get(name)
        return record === undefined ? null : { record }
      },
      discardReplica: async () => void copies.delete(name),
      noteContent: async () => void copies.set(name, { role: 'owner', snapshots: [snapshot(false)] }),
    }) as unknown as Agent
  const verifications = new Verifications({
    store: {
      volumeByName: async () => ({ id: 'v', name: 'db', ownerHostId: 'host1', openMoveId: null }),
      hosts: async () => ['host1', 'host2', 'host3'].map((name) => ({ id: name, name })),
    },
    agent,
    emit: async () => {},
  } as unknown as ControlParts)
  return { verifications, silent, copies, isMarked: () => copies.get('host1')?.snapshots[0]?.differs === true }
}

test('what the owner kept to compare with is a base again once no host is silent that may hold a copy that differs', async () => {
  const { verifications, silent, copies, isMarked } = cluster()
  silent.add('host3')
  expect(await verifications.discard('db')).toEqual(['host2'])
  expect(isMarked()).toBe(true)
  await expect(verifications.discard('db')).rejects.toMatchObject({ code: 'NO_SUCH_REPLICA' })

  // Its copy went by other means meanwhile.
  silent.clear()
  copies.delete('host3')
  expect(await verifications.discard('db')).toEqual([])
  expect(isMarked()).toBe(false)
  await expect(verifications.discard('db')).rejects.toMatchObject({ code: 'NO_SUCH_REPLICA' })
})
