import { mkdir, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { KernelDisks } from '../../../src/backends/block/ebs/kernel-disks.ts'
import { incarnate, newDevice } from '../../ec2/incarnation.ts'
import { fastClock, unitBytes } from '../../ec2/pool.ts'
import { Ec2Server, here } from '../../ec2/server.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'

const volumeId = 'vol-0123456789abcdef0'
const serial = 'vol0123456789abcdef0'

/** A kernel with two disks of EBS and one that is something else, as sysfs has them; no links. */
const machine = async () => {
  const directory = await temporaryDirectory()
  const [links, sys] = [join(directory, 'by-id'), join(directory, 'sys')]
  await mkdir(links)
  const put = async (at: string, files: Readonly<Record<string, string>>) => {
    await mkdir(join(sys, at, 'device'), { recursive: true })
    for (const [name, text] of Object.entries(files)) await writeFile(join(sys, at, name), `${text}\n`)
  }
  const disk = { size: '2048', diskseq: '7', stat: '1 0 8 0 2 0 16 0 0 0 0 3' }
  await put('block/nvme0n1', { ...disk, dev: '259:0', 'device/serial': 'vol0fedcba9876543210' })
  await put('block/nvme1n1', { ...disk, dev: '259:1', 'device/serial': `${serial}  ` })
  await put('block/sda', { ...disk, dev: '8:0', 'device/serial': serial })
  /** udev links the volume's id to a node of that name; which device it is, a plain file does not tell: 0:0. */
  const link = async (name: string, told: string) => {
    await put('dev/block/0:0', { ...disk, 'device/serial': told })
    await writeFile(join(directory, name), '')
    await symlink(join(directory, name), disks.link(volumeId))
  }
  const disks = new KernelDisks(links, sys)
  return { disks, directory, link, put }
}

describe('disks of the kernel', () => {
  test('by the link of udev, and the serial number of its controller', async () => {
    const { disks, link } = await machine()
    await link('nvme1n1', serial)
    const found = await disks.find(volumeId)
    expect(found).toMatchObject({ device: '0:0', sizeBytes: 2048 * 512, written: '7 2 16 3' })
    expect(found?.isUnlinked).toBeUndefined()
  })

  test('a link that leads to another volume: nothing is done', async () => {
    const { disks, link } = await machine()
    await link('nvme1n1', 'vol0fedcba9876543210')
    await expect(disks.find(volumeId)).rejects.toMatchObject({ code: 'VOLUME_BUSY' })
  })

  test('without a link it is here all the same, by its controller; no other disk is', async () => {
    const { disks } = await machine()
    expect(await disks.find(volumeId)).toEqual({
      ...{ path: '/dev/nvme1n1', device: '259:1', sizeBytes: 2048 * 512, sequence: '7' },
      ...{ written: '7 2 16 3', isUnlinked: true, counts: null },
    })
    expect(await disks.find('vol-00000000000000000')).toBeNull()
  })

  test('a link that leads nowhere is as none', async () => {
    const { disks, put } = await machine()
    await symlink('/nowhere/nvme1n1', disks.link(volumeId))
    expect(await disks.find(volumeId)).toMatchObject({ isUnlinked: true })
    await put('block/nvme1n1', { size: '0' })
    expect(await disks.find(volumeId)).toBeNull()
  })

  test.each(['size', 'diskseq', 'stat', 'queue/iostats'])(
    'whose %s cannot be read for what does not mean that it is going: that is told, it counts as no other and not as gone',
    async (file) => {
      const { disks, directory } = await machine()
      const path = join(directory, 'sys/block/nvme1n1', file)
      await rm(path, { force: true })
      await mkdir(path, { recursive: true })
      await expect(disks.find(volumeId)).rejects.toMatchObject({ code: 'EISDIR' })
    },
  )
})

describe('a disk without its link', () => {
  const host = async () => {
    process.env.AWS_ACCESS_KEY_ID = 'AKIATEST'
    process.env.AWS_SECRET_ACCESS_KEY = 'secret'
    const server = await Ec2Server.start({ unitBytes })
    onTestFinished(() => server.close())
    const directory = await temporaryDirectory()
    const limits = { attach: 20_000 }
    const { devices, parts, die } = await incarnate({ server, directory, clock: fastClock(200), limits })
    onTestFinished(die)
    const device = newDevice()
    await devices.create(device, 8 * unitBytes)
    const find = parts.disks.find.bind(parts.disks)
    const unlinked = () =>
      vi.spyOn(parts.disks, 'find').mockImplementation(async (id) => {
        const disk = await find(id)
        return disk === null ? null : { ...disk, isUnlinked: true }
      })
    return { server, devices, parts, device, unlinked }
  }

  test('in use it is not detached, whoever lost the link', async () => {
    const { server, devices, parts, device, unlinked } = await host()
    await devices.path(device)
    unlinked()
    vi.spyOn(parts.disks, 'isClaimed').mockResolvedValue(true)
    expect(await devices.isHeld(device)).toBe(true)
    await expect(devices.remove(device)).rejects.toMatchObject({ code: 'VOLUME_BUSY' })
    expect(server.calls()).not.toContain('DetachVolume')
  })

  test('it is not taken into use; the link is waited for', async () => {
    const { devices, device, unlinked } = await host()
    const withoutLinks = unlinked()
    await expect(devices.path(device)).rejects.toMatchObject({
      ...{ code: 'TIMED_OUT', message: expect.stringContaining('udev made no link') },
    })
    withoutLinks.mockRestore()
    expect(await devices.path(device)).toContain('vol-')
  })

  test('where somebody has attached it himself, and it would not be found, it is not detached, nor deleted', async () => {
    const { server, devices, parts, device } = await host()
    const [volume] = server.world.volumes.all()
    if (volume === undefined) throw new Error('no volume')
    const attachment = { instanceId: here.instanceId, device: '/dev/xvdf', state: 'attached' as const }
    server.world.volumes.put(volume.id, { ...volume, state: 'in-use', attachment })
    await server.settled()
    Object.assign(parts.disks, { sees: async (name: string) => name !== '/dev/xvdf' })
    vi.spyOn(parts.disks, 'find').mockResolvedValue(null)
    await expect(devices.remove(device)).rejects.toMatchObject({
      ...{ code: 'VOLUME_BUSY', message: expect.stringContaining('/dev/xvdf') },
    })
    expect(server.calls().filter((action) => /^(Detach|Delete)/.test(action))).toEqual([])
  })
})
