import { randomUUID } from 'node:crypto'
import { type Ec2Server, here } from './server.ts'

export interface Foreign {
  /** A name as Drover gives it, of a device in another cluster. */
  readonly device: string
  /** All that was planted is as it was, and nothing that changes anything named it. */
  untouched(): boolean
  remove(): void
}

const describes = /^Describe/

/** Volumes and snapshots that are not this cluster's, as like its own as can be. */
export const plantForeign = (server: Ec2Server, cluster: string): Foreign => {
  const { volumes, snapshots } = server.world
  const device = `${'d'.repeat(26)}.${randomUUID()}`
  const likely = { 'drover:device': device, 'drover:volume': 'd'.repeat(26), 'drover:epoch': '1' }
  const tags = [{}, { Name: 'somebody' }, likely, { ...likely, 'drover:cluster': cluster.replace(/^./, 'x') }]
  const ofVolumes = tags.map((each) => server.plant(each, here.zone))
  const ofSnapshots = [...tags.map((each) => server.plantSnapshot(each)), server.plantSnapshot(likely, '999999999999')]
  const before = [ofVolumes.map((id) => volumes.get(id)), ofSnapshots.map((id) => snapshots.get(id))]
  return {
    device,
    untouched: () => {
      const now = [ofVolumes.map((id) => volumes.get(id)), ofSnapshots.map((id) => snapshots.get(id))]
      const named = server.journal.filter(
        ({ action, parameters }) =>
          !describes.test(action) &&
          Object.values(parameters).some((value) => ofVolumes.includes(value) || ofSnapshots.includes(value)),
      )
      return named.length === 0 && now.flat().every((each, index) => each === before.flat()[index])
    },
    remove: () => {
      for (const id of ofVolumes) volumes.put(id, null)
      for (const id of ofSnapshots) snapshots.put(id, null)
    },
  }
}
