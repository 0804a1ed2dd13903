import { receiveCommand } from '../backends/tree/commands.ts'
import { type SnapshotRecord, treeIdentity } from '../domain/dataset.ts'
import { DroverError } from '../domain/errors.ts'
import type { Held, VolumeHost } from '../volumes/host.ts'
import type { MoveCommand, ReceiveArgs } from './agent.ts'
import type { Conduit } from './conduit.ts'
import { dropSnapshots, moveSnapshotPrefix } from './move-snapshots.ts'
import { exclusively, heldIn, write } from './role-change.ts'
import { identityFor, type StreamKind, sharingOf, streamsOf, treesOf } from './stream-kind.ts'
import { partialName } from './target-refusal.ts'

export type ReceiveOrder = Partial<Pick<ReceiveArgs, 'baseUuid' | 'stream' | 'resumes'>>

export interface ReceivedArgs {
  readonly name: string
  readonly streamUuid: string
  readonly baseUuid: string | null
  readonly stream?: StreamKind
}

/** The rounds of a move as they arrive at its target: where each stream goes, and that what arrived is what was sent. */
export class TargetReceiving {
  readonly #host: VolumeHost

  constructor(host: VolumeHost) {
    this.#host = host
  }

  async streamVersion(args: MoveCommand): Promise<number> {
    const { backend } = await heldIn(this.#host, args, 'receiving')
    return backend.streams?.version ?? 1
  }

  /** Where the stream goes: the command that reads it. */
  async prepare(args: MoveCommand & ReceiveOrder): Promise<{ conduit: Conduit; resumeToken?: string }> {
    return exclusively(this.#host, args, async () => {
      const held = await heldIn(this.#host, args, 'receiving')
      if (args.stream === 'tree') return { conduit: await this.#prepareTree(args, held) }
      if (args.stream === 'snapshot') {
        const argv = await sharingOf(held.backend).prepareReceive(args.volumeId, partialName(args))
        return { conduit: (use) => use(argv) }
      }
      const streams = streamsOf(held.backend)
      const { volumeId, baseUuid = null, resumes: streamUuid } = args
      const resumed =
        streamUuid === undefined
          ? null
          : ((await streams.resuming?.resumeReceive(volumeId, partialName(args), { streamUuid, baseUuid })) ?? null)
      if (resumed !== null) return { conduit: (use) => use(resumed.argv, streams.landing), resumeToken: resumed.token }
      const argv = await streams.prepareReceive(volumeId, partialName(args), baseUuid)
      return { conduit: (use) => use(argv, streams.landing) }
    })
  }

  async #prepareTree(args: MoveCommand & { baseUuid?: string | null }, held: Held): Promise<Conduit> {
    const { backend, record } = held
    const trees = treesOf(backend)
    const baseIdentity = args.baseUuid ?? null
    const base = record.snapshots.find((snapshot) => treeIdentity(snapshot) === baseIdentity)
    if (baseIdentity !== null && base === undefined) {
      throw new DroverError(
        'DATASET_MISSING',
        `volume ${record.name} has no snapshot ${baseIdentity} here that a stream could go upon; send it whole`,
      )
    }
    const partial = partialName(args)
    const { sizeBytes, options } = record
    const made = { sizeBytes, ...(options === undefined ? {} : { options }) }
    await trees.prepareReceive(args.volumeId, partial, base?.name ?? null, made)
    return (use) =>
      trees.withPartial(args.volumeId, partial, ({ path, proofPath }) =>
        use(receiveCommand({ tree: `${path}/data`, baseIdentity, proofPath })),
      )
  }

  /** Rule 8: identity proved, recorded with uuid and generation; what was received stays read-only. */
  received(args: MoveCommand & ReceivedArgs): Promise<SnapshotRecord> {
    return exclusively(this.#host, args, async () => {
      const held = await heldIn(this.#host, args, 'receiving')
      const { stream = 'native' } = args
      const known = held.record.snapshots.find(
        (snapshot) => snapshot.name === args.name && identityFor(stream, snapshot) === args.streamUuid,
      )
      if (known !== undefined) return known
      // First: what has got its name is what the next try finds, whatever that goes upon.
      if (args.baseUuid !== null) await this.#proveBase(held, args.baseUuid, stream)
      const snapshot = await this.#finish(stream, args, held)
      const recorded = await write(held, {
        snapshots: [...held.record.snapshots.filter((other) => other.name !== args.name), snapshot],
      })
      // Nothing goes upon those before, and the source removes them.
      if (stream === 'snapshot') await dropSnapshots(recorded, (each) => isOfMove(args, each) && each !== snapshot)
      return snapshot
    })
  }

  #finish(
    stream: StreamKind,
    args: MoveCommand & { name: string; streamUuid: string },
    held: Held,
  ): Promise<SnapshotRecord> {
    if (stream === 'tree') return this.#finishTree(args, held)
    const facet = stream === 'snapshot' ? sharingOf(held.backend) : streamsOf(held.backend)
    return facet.finishReceive(args.volumeId, partialName(args), args.name, args.streamUuid)
  }

  async #finishTree(args: MoveCommand & { name: string; streamUuid: string }, held: Held): Promise<SnapshotRecord> {
    const { volumeId, name, streamUuid } = args
    const snapshot = await treesOf(held.backend).finishReceive(volumeId, partialName(args), name, streamUuid)
    return { ...snapshot, treeUuid: streamUuid }
  }

  /** It was intact when the move chose it; somebody may have written to it since. */
  async #proveBase({ backend, record }: Held, streamUuid: string, stream: StreamKind): Promise<void> {
    const base = record.snapshots.find((snapshot) => identityFor(stream, snapshot) === streamUuid)
    if (base !== undefined && (await backend.snapshots?.intact(record.volumeId, base)) === true) return
    throw new DroverError(
      'STREAM_FAILED',
      `the snapshot ${base?.name ?? streamUuid} of volume ${record.name}, which the stream was received upon, was changed on host ${this.#host.identity.hostName} since; move it again, which sends it whole`,
    )
  }
}

const isOfMove = (command: MoveCommand, { name }: SnapshotRecord): boolean =>
  name.startsWith(moveSnapshotPrefix(command))
