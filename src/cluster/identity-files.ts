import { createPrivateKey, X509Certificate } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { ulid } from 'ulid'
import { z } from 'zod'
import { DroverError } from '../domain/errors.ts'
import { type ClusterId, clusterId, type HostId, hostId } from '../domain/ids.ts'
import { checkHostName } from '../domain/names.ts'
import type { Clock } from '../lib/clock.ts'
import { ensureDirectory, readIfExists, syncDirectory, writeDurably, writeJsonDurably } from '../lib/files.ts'
import { createAuthority, openAuthority } from './certificate-authority.ts'
import { fingerprintOf, generateKeys, makeCsr, privateKeyPem } from './certificates.ts'
import type { CertificateAuthority, Identity } from './cluster.ts'

export const clusterDirectory = (dataDir: string): string => join(dataDir, 'cluster')
const identityFile = (dataDir: string) => join(clusterDirectory(dataDir), 'identity.json')
const caKeyFile = (dataDir: string) => join(clusterDirectory(dataDir), 'ca-key.pem')

const newId = (clock: Clock): string => ulid(clock.now()).toLowerCase()
export const newHostId = (clock: Clock): HostId => hostId(newId(clock))
const newClusterId = (clock: Clock): ClusterId => clusterId(newId(clock))

/** Who this host is, and the CA when it has the control role. */
export interface ClusterMember {
  readonly identity: Identity
  readonly authority: CertificateAuthority | null
}

/** Only what this file format needs; everything that can be derived is not stored. */
const shape = z.object({
  formatVersion: z.literal(1),
  clusterId: z.string().transform(clusterId),
  hostId: z.string().transform(hostId),
  hostName: z.string(),
  control: z.boolean(),
  controlAddress: z.string(),
  controlHostId: z.string().transform(hostId),
  caPem: z.string(),
  certPem: z.string(),
  keyPem: z.string(),
})

/** Null on a fresh host. @throws BAD_CONFIG when the files cannot be used: an identity is never made anew over them */
export const loadMember = async (dataDir: string, clock: Clock): Promise<ClusterMember | null> => {
  const text = await readIfExists(identityFile(dataDir))
  if (text === null) return null
  const identity = parseIdentity(text, identityFile(dataDir))
  if (!identity.control) {
    // Left behind by a crash within a join: the CA of the cluster that this host was before.
    await removeDurably(dataDir, caKeyFile(dataDir))
    return { identity, authority: null }
  }
  const caKeyPem = await readIfExists(caKeyFile(dataDir))
  if (caKeyPem === null) {
    throw new DroverError(
      'BAD_CONFIG',
      `${caKeyFile(dataDir)} is missing, the key of this cluster's CA; restore it from a backup`,
    )
  }
  const authority = await openAuthority({ caPem: identity.caPem, caKeyPem, cluster: identity.clusterId, clock })
  return { identity, authority }
}

const parseIdentity = (text: string, path: string): Identity => {
  try {
    const { formatVersion: _, ...stored } = shape.parse(JSON.parse(text))
    const certificate = new X509Certificate(stored.certPem)
    const ca = new X509Certificate(stored.caPem)
    if (!certificate.checkPrivateKey(createPrivateKey(stored.keyPem))) throw new Error('its key is another')
    if (!certificate.verify(ca.publicKey)) throw new Error('its certificate is of another CA')
    return { ...stored, fingerprint: fingerprintOf(stored.certPem) }
  } catch (error) {
    throw new DroverError(
      'BAD_CONFIG',
      `${path} cannot be used as this host's identity; restore it from a backup, or start a newer vold if that wrote it`,
      { cause: error },
    )
  }
}

/**
 * The one-host cluster that a fresh host makes of itself. The CA's key is written first: without an identity beside it, it
 * counts for nothing and the next start makes another.
 */
export const createMember = async (options: {
  dataDir: string
  hostName: string
  /** ADDR:PORT at which other hosts reach this one. */
  address: string
  clock: Clock
}): Promise<ClusterMember> => {
  const { dataDir, clock } = options
  const cluster = newClusterId(clock)
  const host = newHostId(clock)
  const { caPem, caKeyPem } = await createAuthority(cluster, clock)
  const authority = await openAuthority({ caPem, caKeyPem, cluster, clock })
  const keys = await generateKeys()
  const certPem = await authority.sign(await makeCsr(keys), host)
  const identity: Identity = {
    clusterId: cluster,
    hostId: host,
    hostName: checkHostName(options.hostName),
    control: true,
    controlAddress: options.address,
    controlHostId: host,
    caPem,
    certPem,
    keyPem: await privateKeyPem(keys),
    fingerprint: fingerprintOf(certPem),
  }
  await ensureDirectory(clusterDirectory(dataDir))
  await writeDurably(caKeyFile(dataDir), caKeyPem)
  await saveIdentity(dataDir, identity)
  return { identity, authority }
}

export const loadOrCreateMember = async (options: Parameters<typeof createMember>[0]): Promise<ClusterMember> =>
  (await loadMember(options.dataDir, options.clock)) ?? (await createMember(options))

/** One file, replaced whole: after a crash it is the old identity or the new one. A host without the control role drops its CA's key. */
export const saveIdentity = async (dataDir: string, identity: Identity): Promise<void> => {
  const { fingerprint: _, ...stored } = identity
  await ensureDirectory(clusterDirectory(dataDir))
  await writeJsonDurably(identityFile(dataDir), { formatVersion: 1, ...stored })
  if (!identity.control) await removeDurably(dataDir, caKeyFile(dataDir))
}

const removeDurably = async (dataDir: string, path: string): Promise<void> => {
  await rm(path, { force: true })
  await syncDirectory(clusterDirectory(dataDir))
}
