import { expect, test } from 'vitest'
import { containerIdOf } from '../../../src/lib/mount-users.ts'
import { type Holder, holdersText, holderText } from '../../../src/volumes/holders.ts'

const id = 'ab'.repeat(32)

test.each([
  [`0::/docker/${id}\n`, id],
  [`12:cpu:/docker/${id}/init\n0::/\n`, id],
  [`0::/system.slice/docker-${id}.scope\n`, id],
  [`0::/machine.slice/libpod-${id}.scope/container\n`, id],
  ['0::/system.slice/ssh.service\n', null],
  [`0::/user/${id}ff\n`, null],
  ['', null],
])('the cgroup %j is of container %s', (cgroup, container) => {
  expect(containerIdOf(cgroup)).toBe(container)
})

const holder: Holder = {
  pid: 7,
  command: 'sleep\n600',
  kinds: ['open file', 'cwd'],
  mountPoints: [],
  namespace: 'mnt:[1]',
  hostNamespace: true,
  containerId: null,
  containerName: null,
}

test('a holder is told whole, in one line', () => {
  expect(holderText(holder)).toBe("pid 7 (sleep 600; open file, cwd) in the host's mount namespace mnt:[1]")
  const mount = { kinds: ['mount'], mountPoints: ['/x'], hostNamespace: false, containerId: id } as const
  expect(holderText({ ...holder, ...mount })).toBe(
    'pid 7 (sleep 600; mount at /x) in container abababababab in mount namespace mnt:[1]',
  )
  expect(holderText({ ...holder, ...mount, containerName: 'web' })).toContain('in container web in')
  expect(holdersText([holder, holder, holder, holder, holder])).toMatch(/^pid 7 .*, 2 more$/)
})
