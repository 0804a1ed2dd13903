import { X509Certificate } from 'node:crypto'
import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { generateKeys, makeCsr } from '../../../src/cluster/certificates.ts'
import { createMember, loadMember, loadOrCreateMember, saveIdentity } from '../../../src/cluster/identity-files.ts'
import { hasCode } from '../../../src/domain/errors.ts'
import { hostId } from '../../../src/domain/ids.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { Cleanup, freshCluster, furtherHost } from './harness.ts'

const cleanup = new Cleanup()
afterEach(() => cleanup.run())
const badConfig = (work: Promise<unknown>) =>
  expect(work).rejects.toSatisfy((error) => hasCode(error, 'BAD_CONFIG'), 'rejects with BAD_CONFIG')

test('a fresh host makes itself a one-host cluster, and is the same after a restart', async () => {
  const dataDir = await cleanup.directory()
  expect(await loadMember(dataDir, systemClock)).toBeNull()
  const options = { dataDir, hostName: 'host1', address: '10.0.0.1:7460', clock: systemClock }
  const first = await loadOrCreateMember(options)
  expect(first.identity).toMatchObject({ hostName: 'host1', control: true, controlAddress: '10.0.0.1:7460' })
  expect(first.identity.controlHostId).toBe(first.identity.hostId)
  const again = await loadOrCreateMember({ ...options, hostName: 'other' })
  expect(again.identity).toEqual(first.identity)
  expect(again.authority?.caFingerprint).toBe(first.authority?.caFingerprint)
})

test('every file is for its owner only, the directory too', async () => {
  const { dataDir } = await freshCluster(cleanup)
  const directory = join(dataDir, 'cluster')
  expect((await stat(directory)).mode & 0o777).toBe(0o700)
  const names = await readdir(directory)
  expect(names.sort()).toEqual(['ca-key.pem', 'identity.json'])
  for (const name of names) expect((await stat(join(directory, name))).mode & 0o777).toBe(0o600)
})

test('certificates carry host and cluster, from a CA that signs leaves only, valid at once and for long', async () => {
  const { identity, authority } = await freshCluster(cleanup)
  const ca = new X509Certificate(identity.caPem)
  const leaf = new X509Certificate(identity.certPem)
  expect(leaf.subject).toBe(`CN=${identity.hostId}\nO=drover:${identity.clusterId}`)
  expect([ca.ca, leaf.ca]).toEqual([true, false])
  expect(leaf.checkIssued(ca) && leaf.verify(ca.publicKey)).toBe(true)
  const days = (certificate: X509Certificate) => (Date.parse(certificate.validTo) - Date.now()) / 86_400_000
  expect(days(ca)).toBeGreaterThan(3600)
  expect(days(leaf)).toBeGreaterThan(800)
  expect(Date.parse(leaf.validFrom)).toBeLessThan(Date.now())
  expect(leaf.publicKey.asymmetricKeyDetails?.namedCurve).toBe('prime256v1')
  expect(authority.caFingerprint).toBe(ca.fingerprint256.replaceAll(':', '').toLowerCase())
  expect(identity.fingerprint).toBe(leaf.fingerprint256.replaceAll(':', '').toLowerCase())
})

test('the CA signs for the host id it is told, whatever the request says, and no broken request', async () => {
  const { authority } = await freshCluster(cleanup)
  const host = hostId('0'.repeat(26))
  const csr = await makeCsr(await generateKeys())
  expect(new X509Certificate(await authority.sign(csr, host)).subject).toContain(`CN=${host}`)
  const bytes = Buffer.from(csr.split('\n').slice(1, -1).join(''), 'base64')
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1
  const forged = `-----BEGIN CERTIFICATE REQUEST-----\n${bytes.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`
  for (const bad of [forged, 'nonsense', '']) {
    await expect(authority.sign(bad, host)).rejects.toSatisfy((error) => hasCode(error, 'BAD_REQUEST'))
  }
})

test('a crash before the identity was written leaves a fresh host', async () => {
  const { dataDir, identity } = await freshCluster(cleanup)
  await rm(join(dataDir, 'cluster', 'identity.json'))
  const next = await loadOrCreateMember({ dataDir, hostName: 'host1', address: 'a:1', clock: systemClock })
  expect(next.identity.clusterId).not.toBe(identity.clusterId)
  expect(await loadMember(dataDir, systemClock)).toMatchObject({ identity: next.identity })
})

test('a joined host loses the key of its own CA, also when a crash left it there', async () => {
  const old = await freshCluster(cleanup)
  const joined = await furtherHost(await freshCluster(cleanup))
  const caKey = join(old.dataDir, 'cluster', 'ca-key.pem')
  const text = await readFile(caKey, 'utf8')
  await saveIdentity(old.dataDir, joined)
  await expect(stat(caKey)).rejects.toThrow('ENOENT')
  await writeFile(caKey, text)
  expect(await loadMember(old.dataDir, systemClock)).toEqual({ identity: joined, authority: null })
  await expect(stat(caKey)).rejects.toThrow('ENOENT')
})

test('an identity that cannot be used is an error, never made anew', async () => {
  const { dataDir, identity } = await freshCluster(cleanup)
  const other = await freshCluster(cleanup)
  const file = join(dataDir, 'cluster', 'identity.json')
  const good = await readFile(file, 'utf8')
  const options = { dataDir, hostName: 'host1', address: 'a:1', clock: systemClock }
  const broken = [
    good.slice(0, 100),
    '',
    JSON.stringify({ ...JSON.parse(good), formatVersion: 2 }),
    JSON.stringify({ ...JSON.parse(good), keyPem: other.identity.keyPem }),
    JSON.stringify({ ...JSON.parse(good), caPem: other.identity.caPem }),
  ]
  for (const text of broken) {
    await writeFile(file, text)
    await badConfig(loadOrCreateMember(options))
    expect(await readFile(file, 'utf8')).toBe(text)
  }
  await writeFile(file, good)
  expect((await loadOrCreateMember(options)).identity).toEqual(identity)
})

test('a control host whose CA key is gone or another says so', async () => {
  const { dataDir } = await freshCluster(cleanup)
  const other = await freshCluster(cleanup)
  const caKey = join(dataDir, 'cluster', 'ca-key.pem')
  await writeFile(caKey, await readFile(join(other.dataDir, 'cluster', 'ca-key.pem')))
  await badConfig(loadMember(dataDir, systemClock))
  await rm(caKey)
  await badConfig(loadMember(dataDir, systemClock))
})

test('a host name that cannot be used makes nothing', async () => {
  const dataDir = await cleanup.directory()
  await expect(createMember({ dataDir, hostName: 'a b', address: 'a:1', clock: systemClock })).rejects.toSatisfy(
    (error) => hasCode(error, 'BAD_NAME'),
  )
  expect(await readdir(dataDir)).toEqual([])
})
