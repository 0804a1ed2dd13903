import type { ResumingFacet, StreamFacet } from '../backends/backend.ts'
import { sendCommand } from '../backends/tree/commands.ts'
import type { SendOrder } from '../backends/tree/send.ts'
import { type SnapshotRecord, treeIdentity } from '../domain/dataset.ts'
import { DroverError } from '../domain/errors.ts'
import type { Held } from '../volumes/host.ts'
import type { MoveCommand, SendArgs } from './agent.ts'
import type { Conduit } from './conduit.ts'
import { sharingOf } from './stream-kind.ts'

/** The command that writes a snapshot's stream, native or file by file. */
export const sendConduit = async ({ backend, record }: Held, args: MoveCommand & SendArgs): Promise<Conduit> => {
  const { volumeId, snapshot: name, base: baseName, streamVersion } = args
  if (args.stream === 'snapshot') {
    const argv = await sharingOf(backend).sendCommand(volumeId, name)
    return (use) => use(argv)
  }
  if (args.stream !== 'tree') {
    if (backend.streams === undefined) throw new DroverError('INTERNAL', `pool ${backend.spec.text} gives no streams`)
    const { resumeToken: token } = args
    const argv = await (token === undefined
      ? backend.streams.sendCommand(volumeId, name, baseName, streamVersion)
      : resumingOf(backend.streams).resumeSend(volumeId, name, baseName, token))
    return (use) => use(argv)
  }
  const { snapshots } = backend
  if (snapshots === undefined) throw new DroverError('INTERNAL', `pool ${backend.spec.text} has no snapshots`)
  const find = (wanted: string): SnapshotRecord => {
    const found = record.snapshots.find((snapshot) => snapshot.name === wanted)
    if (found !== undefined) return found
    throw new DroverError('NO_SUCH_SNAPSHOT', `volume ${record.name} has no snapshot ${wanted}`)
  }
  const base = baseName === null ? null : find(baseName)
  const order = (top: string, basePath: string | null): SendOrder => ({
    identity: treeIdentity(find(name)),
    baseIdentity: base === null ? null : treeIdentity(base),
    top: `${top}/data`,
    base: basePath === null ? null : `${basePath}/data`,
    baseTakenMs: base === null ? 0 : Date.parse(base.createdAt) - (backend.trees?.datedLateMs ?? 0),
  })
  // The base first: where snapshots are fetched to be shown, what comes after is fetched upon it.
  return (use) =>
    base === null
      ? snapshots.withPath(volumeId, name, (top) => use(sendCommand(order(top, null))))
      : snapshots.withPath(volumeId, base.name, (basePath) =>
          snapshots.withPath(volumeId, name, (top) => use(sendCommand(order(top, basePath)))),
        )
}

const resumingOf = ({ resuming, format }: StreamFacet): ResumingFacet => {
  if (resuming !== undefined) return resuming
  throw new DroverError('STREAM_FAILED', `streams of ${format} do not go on; the next one is sent whole`)
}
