import { expect, test } from 'vitest'
import { checkLostTarget } from '../../../src/control/lost-target.ts'
import type { ControlParts } from '../../../src/control/parts.ts'
import type { DatasetRecord } from '../../../src/domain/dataset.ts'
import { DroverError } from '../../../src/domain/errors.ts'
import { moveId } from '../../../src/domain/ids.ts'
import type { MoveRecord } from '../../../src/domain/move.ts'

const move = {
  id: moveId('m'.repeat(26)),
  volumeName: 'db',
  sourceHostId: 'one',
  targetHostId: 'two',
  finalSnapshot: 's',
}
const whole: Partial<DatasetRecord> = { role: 'released', moveId: move.id, snapshot: 's' }

const check = (target: 'silent' | 'up', source: Partial<DatasetRecord> | 'silent', more: Partial<MoveRecord> = {}) => {
  const silent = async () => {
    throw new DroverError('HOST_UNREACHABLE', 'no answer')
  }
  const agents = {
    one: { holding: source === 'silent' ? silent : async () => ({ record: source }) },
    two: { ping: target === 'silent' ? silent : async () => ({}) },
  }
  const parts = {
    hostById: async (id: string) => ({ id, name: `host-${id}` }),
    agent: ({ id }: { id: 'one' | 'two' }) => agents[id],
    mayWrite: async () => {},
  }
  return checkLostTarget(parts as unknown as ControlParts, { ...move, ...more } as unknown as MoveRecord)
}

test('the word that a target is lost counts while it is silent and the source holds all that was committed', async () => {
  await check('silent', whole)
})

test('it does not count of a host that answers', async () => {
  await expect(check('up', whole)).rejects.toMatchObject({
    code: 'BAD_REQUEST',
    message: expect.stringContaining('host-two answers'),
  })
})

test('nor while the source is silent, or holds something else', async () => {
  await expect(check('silent', 'silent')).rejects.toMatchObject({ code: 'HOST_UNREACHABLE' })
  await expect(check('silent', { ...whole, role: 'replica' })).rejects.toMatchObject({ code: 'DIVERGED' })
  await expect(check('silent', { ...whole, snapshot: 'r' })).rejects.toMatchObject({ code: 'DIVERGED' })
})

test('nor of a part of a group', async () => {
  const group = { groupId: move.id }
  await expect(check('silent', whole, group)).rejects.toMatchObject({
    code: 'BAD_REQUEST',
    message: expect.stringContaining('of a group'),
  })
})
