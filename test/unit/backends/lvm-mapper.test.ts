import { expect, test } from 'vitest'
import { MapperCommand } from '../../../src/backends/block/lvm/mapper-command.ts'
import { CommandError, type Exec } from '../../../src/lib/exec.ts'

/** Fails so many times before it answers. */
const failing = (times: number, stdout: string) => {
  let left = times
  const run = async (argv: readonly string[]) => {
    if (left === 0) return { stdout, stderr: '' }
    left -= 1
    throw new CommandError([...argv] as [string, ...string[]], 1, 'Command failed.', '')
  }
  return new MapperCommand({ run } as unknown as Exec, { group: 'vg', pool: 'thin' } as never)
}

test('a device that goes while all are listed is no failure of the list', async () => {
  expect(await failing(2, 'vg-a:Active\nvg-b:Suspended\n').suspended()).toEqual(['vg-b'])
  expect((await failing(2, 'vg-a: 0 2048 thin 8 2047\n').mappedBytes()).get('vg-a')).toBe(4096)
})

test('dmsetup that fails again and again is told', async () => {
  await expect(failing(99, '').suspended()).rejects.toThrow('Command failed.')
})
