import { afterEach, expect, it } from 'vitest'
import { clearHosts } from '../support/e2e.ts'
import { useLab } from '../support/lab.ts'

/** What a container sees at the mount point of a new volume. */
const shared = useLab('modes', { hosts: 1 })
afterEach(() => clearHosts(shared))

it('can be used by a process that is not root, as a volume of the local driver can', async () => {
  const { host1 } = shared
  const modeOf = (...driver: string[]) =>
    host1.docker('run', '--rm', '-v', 'modes:/d', ...driver, 'busybox', 'stat', '-c', '%u:%g %a', '/d')
  const local = await modeOf()
  await host1.docker('volume', 'rm', 'modes')
  expect(await modeOf('--volume-driver', 'drover')).toBe(local)
  await host1.docker('volume', 'rm', 'modes')
})
