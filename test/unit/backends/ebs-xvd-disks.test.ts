import { mkdir, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import { KernelDisks } from '../../../src/backends/block/ebs/kernel-disks.ts'
import { fastClock } from '../../ec2/pool.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'

const [ours, theirs] = ['vol-0123456789abcdef0', 'vol-0fedcba9876543210']
const settleMs = 60_000

/** A Xen instance as sysfs has it, and what EC2 tells of it. */
const machine = async () => {
  const directory = await temporaryDirectory()
  const [sys, dev, numbers] = [join(directory, 'sys'), join(directory, 'dev'), join(directory, 'by-diskseq')]
  for (const path of [join(sys, 'block'), dev, numbers]) await mkdir(path, { recursive: true })
  /** The number null: a kernel that counts none. */
  const show = async (name: string, number: string | null, { isLinked = true } = {}) => {
    const at = join(sys, 'block', name)
    await mkdir(at, { recursive: true })
    const files = { size: '2048', dev: '202:6656', stat: '1 0 8 0 2 0 16 0 0 0 0 3' }
    for (const [file, text] of Object.entries(files)) await writeFile(join(at, file), `${text}\n`)
    if (number === null) return
    await writeFile(join(at, 'diskseq'), `${number}\n`)
    await writeFile(join(dev, name), '')
    if (isLinked) await symlink(join(dev, name), join(numbers, number))
  }
  const hide = (name: string) => rm(join(sys, 'block', name), { recursive: true })
  const told = new Map<string, string | null>()
  const asked: number[] = []
  const clock = fastClock(2_000)
  const disks = new KernelDisks(join(directory, 'by-id'), sys, numbers)
  disks.useNames({
    ask: async () => {
      asked.push(clock.monotonic())
      return new Map(told)
    },
    ...{ clock, settleMs },
  })
  return { disks, show, hide, told, asked, clock, sys, numbers }
}

describe('disks of a Xen instance', () => {
  test('one that appears where there was none, when EC2 tells that it is the volume’s', async () => {
    const { disks, show, told, numbers } = await machine()
    expect(await disks.expect(ours, '/dev/xvdba')).toBe(true)
    expect(await disks.find(ours)).toBeNull()
    told.set('/dev/xvdba', ours)
    await show('xvdba', '41')
    expect(await disks.find(ours)).toMatchObject({ path: '/dev/xvdba', sequence: '41', device: '202:6656' })
    expect(disks.link(ours)).toBe(join(numbers, '41'))
    expect(await disks.find(theirs)).toBeNull()
  })

  test('one that was here before: when EC2 still tells so after as long as its answers lag behind', async () => {
    const { disks, show, told, asked, clock } = await machine()
    await show('xvdba', '41')
    told.set('/dev/xvdba', ours)
    const shownAt = clock.monotonic()
    expect(await disks.expect(theirs, '/dev/xvdba')).toBe(false)
    expect(await disks.find(ours)).toMatchObject({ path: '/dev/xvdba' })
    expect((asked.at(-1) ?? 0) - shownAt).toBeGreaterThanOrEqual(settleMs)
  })

  test('an answer of before, and then another volume at the same name: it is the other one’s', async () => {
    const { disks, show, told, clock } = await machine()
    await show('xvdba', '41')
    told.set('/dev/xvdba', ours)
    const found = disks.find(ours)
    await clock.sleep(settleMs / 3)
    told.set('/dev/xvdba', theirs)
    expect(await found).toBeNull()
    expect(await disks.find(theirs)).not.toBeNull()
  })

  test('a disk that comes in the place of another is not taken for it', async () => {
    const { disks, show, hide, told } = await machine()
    await disks.expect(ours, '/dev/xvdba')
    told.set('/dev/xvdba', ours)
    await show('xvdba', '41')
    await disks.find(ours)
    await hide('xvdba')
    await show('xvdba', '42')
    told.set('/dev/xvdba', theirs)
    expect(await disks.find(ours)).toBeNull()
    expect(disks.link(ours)).toContain('nvme-Amazon_Elastic_Block_Store_')
  })

  test('once known, EC2 is asked no more; disks of others cost one question as well', async () => {
    const { disks, show, told, asked } = await machine()
    await show('xvdba', '41')
    await show('xvdbb', '42')
    await show('xvdbc', '43')
    await show('xvda', '1')
    told.set('/dev/xvdba', ours).set('/dev/xvdbb', theirs)
    await Promise.all([disks.find(ours), disks.find(theirs), disks.find('vol-00000000000000000')])
    const before = asked.length
    for (const id of [ours, theirs, 'vol-00000000000000000']) await disks.find(id)
    expect(asked).toHaveLength(before)
  })

  test('without udev’s link it is here, and not taken into use', async () => {
    const { disks, show, told } = await machine()
    await disks.expect(ours, '/dev/xvdba')
    told.set('/dev/xvdba', ours)
    await show('xvdba', '41', { isLinked: false })
    expect(await disks.find(ours)).toMatchObject({ isUnlinked: true })
  })

  test('not certain: EC2 tells of two, or does not answer, or the kernel numbers no disks', async () => {
    const { disks, show, hide, told } = await machine()
    await show('xvdba', '41')
    told.set('/dev/xvdba', null)
    await expect(disks.find(ours)).rejects.toMatchObject({ code: 'VOLUME_BUSY' })
    disks.useNames({
      ask: () => Promise.reject(new Error('no answer')),
      ...{ clock: fastClock(2_000), settleMs },
    })
    await expect(disks.find(ours)).rejects.toThrow('no answer')
    await hide('xvdba')
    await show('xvdba', null)
    await expect(disks.find(ours)).rejects.toMatchObject({ code: 'VOLUME_BUSY' })
  })

  test('one in use that EC2 does not tell of is nobody’s only when that is over: it may be any volume', async () => {
    const { disks, show, told } = await machine()
    await show('xvdba', '41')
    await show('xvdbb', '42')
    told.set('/dev/xvdbb', theirs)
    const inUse = vi.spyOn(disks, 'isClaimed').mockResolvedValue(true)
    await expect(disks.find(ours)).rejects.toMatchObject({
      ...{ code: 'VOLUME_BUSY', message: expect.stringContaining('/dev/xvdba') },
    })
    expect(await disks.find(theirs)).not.toBeNull()
    inUse.mockResolvedValue(false)
    expect(await disks.find(ours)).toBeNull()
  })

  test('where there is an NVMe controller its word alone counts', async () => {
    const { disks, show, told, sys, asked } = await machine()
    await mkdir(join(sys, 'class/nvme/nvme0'), { recursive: true })
    await show('xvdba', '41')
    told.set('/dev/xvdba', ours)
    expect(await disks.find(ours)).toBeNull()
    expect(asked).toEqual([])
  })

  test('one that somebody attached at a name of his own is not looked at, and that is said; where there is NVMe names do not matter', async () => {
    const { disks, show, told, sys } = await machine()
    told.set('/dev/xvdf', ours)
    await show('xvdf', '41')
    expect(await disks.find(ours)).toBeNull()
    expect([await disks.sees('/dev/xvdba'), await disks.sees('/dev/xvdf'), await disks.sees('/dev/sdf')]).toEqual([
      ...[true, false, false],
    ])
    await mkdir(join(sys, 'class/nvme/nvme0'), { recursive: true })
    expect(await disks.sees('/dev/sdf')).toBe(true)
  })
})
