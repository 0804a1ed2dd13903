import { setTimeout as sleep } from 'node:timers/promises'
import type { Ec2 } from '../../src/backends/block/ebs/ec2-client.ts'
import { tag } from '../../src/backends/block/ebs/tags.ts'
import { strangerTag } from '../ec2/stranger.ts'

/**
 * Removes all volumes and snapshots that bear the tested cluster's tag, or the tag of what a stranger made for the tests. Never by force: what is still
 * attached is detached, and waited for. @returns how many it removed
 */
export const sweep = async (ec2: Ec2, cluster: string, { lookMs = 5_000, tries = 60 } = {}): Promise<number> => {
  let removed = 0
  for (const key of [tag.cluster, strangerTag]) {
    const filters = [{ Name: `tag:${key}`, Values: [cluster] }]
    const left = async () => ({
      volumes: ((await ec2.describeVolumes({ Filters: filters })).Volumes ?? []).filter(
        ({ State }) => State !== 'deleting' && State !== 'deleted',
      ),
      snapshots: (await ec2.describeSnapshots({ OwnerIds: ['self'], Filters: filters })).Snapshots ?? [],
    })
    for (let count = 0; ; count += 1) {
      const { volumes, snapshots } = await left()
      if (volumes.length === 0 && snapshots.length === 0) break
      if (count === tries) throw new Error(`still there: ${JSON.stringify([volumes, snapshots])}`)
      for (const { VolumeId: id = '', Attachments: at = [] } of volumes) {
        if (at.length > 0) {
          if (at.some(({ State }) => State === 'attached')) await ec2.detachVolume({ VolumeId: id }).catch(isOnItsWay)
        } else if (await isDone(ec2.deleteVolume({ VolumeId: id }))) removed += 1
      }
      for (const { SnapshotId: id = '' } of snapshots) {
        if (await isDone(ec2.deleteSnapshot({ SnapshotId: id }))) removed += 1
      }
      await sleep(lookMs)
    }
  }
  return removed
}

const isDone = (call: Promise<unknown>): Promise<boolean> =>
  call.then(
    () => true,
    (error: unknown) => {
      isOnItsWay(error)
      return false
    },
  )

/** Describes lag behind: it has gone, or is still in another state. */
const isOnItsWay = (error: unknown): void => {
  if (!(error instanceof Error) || !/NotFound|IncorrectState|VolumeInUse|InvalidSnapshot.InUse/.test(error.name)) {
    throw error
  }
}
