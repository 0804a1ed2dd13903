import { afterEach, expect, it } from 'vitest'
import { until } from '../../lab/command.ts'
import type { LabHost } from '../../lab/host.ts'
import { openAuthority } from '../../src/cluster/certificate-authority.ts'
import { loadMember, saveIdentity } from '../../src/cluster/identity-files.ts'
import { makeRenewalRequest } from '../../src/cluster/renewal.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { readIfExists } from '../../src/lib/files.ts'
import { clearHosts, goesOn, startWriter } from '../support/e2e.ts'
import { useLab } from '../support/lab.ts'

/** Certificates that near their end, end, and are renewed, on two real hosts whose writers notice nothing. */
const shared = useLab('certificates', { hosts: 2, poolBytes: 2 ** 30, images: ['busybox'] })
afterEach(() => clearHosts(shared))

const dayMs = 86_400_000
const dataDir = '/var/lib/drover'

/** Starts the host's `vold` again with a certificate for the same key that has so many days left. */
const leave = async (host: LabHost, days: number): Promise<void> => {
  const control = shared.host1.path(dataDir)
  const caKeyPem = await readIfExists(`${control}/cluster/ca-key.pem`)
  const member = await loadMember(host.path(dataDir), systemClock)
  if (member === null || caKeyPem === null) throw new Error('both hosts have an identity')
  const { identity } = member
  const clock = { ...systemClock, now: () => Date.now() - (825 - days) * dayMs }
  const authority = await openAuthority({ caPem: identity.caPem, caKeyPem, cluster: identity.clusterId, clock })
  const { csrPem } = await makeRenewalRequest(identity)
  await host.stopVold()
  await saveIdentity(host.path(dataDir), { ...identity, certPem: await authority.sign(csrPem, identity.hostId) })
  await host.startVold()
}

const kinds = async (): Promise<string[]> =>
  JSON.parse((await shared.host1.tryVol('--json', 'doctor')).stdout).findings.map(
    ({ kind, host, what }: { kind: string; host: string; what: string }) => `${kind} ${host} ${what}`,
  )

it('one near its end is found and renewed; one that has ended takes a token; the control role renews its own', async () => {
  const { host1, host2 } = shared
  await startWriter(host2, 'writer', 'db')
  await leave(host2, 10)
  expect(await kinds()).toMatchObject([/^certificate host2 the certificate of the host ends at /])
  const fixed = await host1.tryVol('doctor', '--fix')
  expect(fixed).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/fixed: host2: the certificate/) })
  expect(await kinds()).toEqual([])

  await leave(host2, -1)
  expect(await kinds()).toMatchObject([/^certificate host2 the certificate of host host2 has ended/])
  const { stdout } = await host2.exec([
    'curl',
    '--silent',
    '--unix-socket',
    '/run/drover/vold.sock',
    'http://x/healthz',
  ])
  expect(stdout).toMatch(/the certificate of host host2 ended at .*vol join/)
  const line = await host1.vol('token')
  await host2.vol(...line.split(' ').slice(1))
  expect(await kinds()).toEqual([])
  await goesOn(host2, 'writer')

  await leave(host1, -1)
  await until('the control role to have renewed its own', async () =>
    (await host2.tryVol('ls')).stdout.includes('db') ? true : null,
  )
  expect(await kinds()).toEqual([])
  await host2.vol('move', 'db', '--to', 'host1')
  await goesOn(host1, 'writer')
}, 180_000)
