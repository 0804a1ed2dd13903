import { join } from 'node:path'
import type { PeerClient } from '../cluster/cluster.ts'
import type { OwnIdentity } from '../cluster/own-identity.ts'
import { endOfCertificate } from '../cluster/renewal.ts'
import type { DaemonConfig } from '../lib/config.ts'
import type { Exec } from '../lib/exec.ts'
import { ensureDirectory } from '../lib/files.ts'
import { idleLoopsOf } from '../lib/loop-devices.ts'
import { ownMounts } from '../lib/mountinfo.ts'
import type { LocalAgentParts } from '../migrate/local-agent.ts'
import type { VolumePlugin } from '../volume-plugin/plugin.ts'

/** What `vol doctor` looks at on this host beside volumes and engine. `plugin`: null until it listens. */
export const createSurroundings = (parts: {
  config: DaemonConfig
  exec: Exec
  own: OwnIdentity
  plugin(): VolumePlugin | null
}): LocalAgentParts['around'] => {
  const { config, exec, own, plugin } = parts
  const endOf = (pem: string): string => new Date(endOfCertificate(pem)).toISOString()
  return {
    mountPoints: async () => (await ownMounts()).map(({ mountPoint }) => mountPoint),
    idleLoops: () => idleLoopsOf(join(config.dataDir, 'pool.img')),
    detachLoop: async (device) => void (await exec.run(['losetup', '--detach', device])),
    certificates: () => [
      { of: 'host', endsAt: endOf(own.current.certPem) },
      { of: 'CA', endsAt: endOf(own.current.caPem) },
    ],
    pluginProblem: async () => (await plugin()?.problem()) ?? null,
    servePluginAgain: async () => {
      await ensureDirectory(config.pluginDir, 0o755)
      await plugin()?.listenAgain()
    },
  }
}

/** Images go to other hosts as bytes, named in the headers. */
export const imagesOver =
  (peers: PeerClient): LocalAgentParts['uploadImage'] =>
  ({ imageId, imageName, targetHostId, targetAddress, moveId, volumeId }, tar, signal) => {
    const headers = {
      'drover-move-id': moveId,
      'drover-volume-id': volumeId,
      'drover-image-id': encodeURIComponent(imageId),
      'drover-image-name': encodeURIComponent(imageName),
    }
    return peers.upload({ address: targetAddress, hostId: targetHostId }, '/agent/image', tar, headers, signal)
  }
