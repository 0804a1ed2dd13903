import { isDifferingReplica, treeIdentity } from '../domain/dataset.ts'
import { asDroverError, DroverError, hasCode } from '../domain/errors.ts'
import type { Host } from '../domain/host.ts'
import type { Verification } from '../domain/verification.ts'
import type { Volume } from '../domain/volume.ts'
import { isoNow } from '../lib/clock.ts'
import { algorithm } from '../lib/tree-digest/chunks.ts'
import type { Holding } from '../migrate/agent.ts'
import { endVerification, type VerifyArgs, verifySnapshot } from '../migrate/verification/verify-snapshot.ts'
import type { VerificationView } from './control.ts'
import { volumeByName } from './lookup.ts'
import type { ControlParts } from './parts.ts'
import { checkNoMove } from './volumes-control.ts'

/** A host that is started anew is back within this time. */
const tries = 20
const betweenTriesMs = 1_500

interface Pair {
  readonly replica: Host
  /** The newest snapshot that both have recorded, under its name on each side; null: there is none. */
  readonly common: { readonly onOwner: string; readonly onReplica: string } | null
}

/** Verifications that `vol verify` asked for: one at a time of a volume, the last one of each remembered while this process lives. */
export class Verifications {
  readonly #parts: ControlParts
  readonly #latest = new Map<string, VerificationView>()
  readonly #stop = new AbortController()

  constructor(parts: ControlParts) {
    this.#parts = parts
  }

  /** Begins one, or joins the one under way. @throws NO_SUCH_REPLICA, HOST_UNREACHABLE, MOVE_UNDER_WAY */
  async start(name: string): Promise<VerificationView> {
    const volume = await volumeByName(this.#parts.store, name)
    const running = this.#latest.get(volume.id)
    if (running?.state === 'running') return running
    checkNoMove(volume)
    const owner = await this.#parts.hostById(volume.ownerHostId)
    const pairs = await this.#pairs(volume, owner)
    const now = this.#latest.get(volume.id)
    if (now?.state === 'running') return now
    const view: VerificationView = {
      volume: name,
      owner: owner.name,
      state: 'running',
      startedAt: isoNow(this.#parts.clock),
      endedAt: null,
      replicas: pairs.map(({ replica }) => ({ host: replica.name, progress: null, result: null })),
    }
    this.#latest.set(volume.id, view)
    void this.#run(volume, owner, pairs)
    return view
  }

  /** @throws NO_SUCH_VERIFICATION */
  async latest(name: string): Promise<VerificationView> {
    const view = this.#latest.get((await volumeByName(this.#parts.store, name)).id)
    if (view !== undefined) return view
    throw new DroverError(
      'NO_SUCH_VERIFICATION',
      `no verification of volume ${name} is known since the control role started; begin one with vol verify ${name}`,
    )
  }

  /**
   * Removes the replicas that were found to differ. What the owner kept to compare with is a base like any other again, once no host is silent that
   * might hold such a replica too. @returns the hosts that held one @throws NO_SUCH_REPLICA when there is nothing to do
   */
  async discard(name: string): Promise<string[]> {
    const { store, agent } = this.#parts
    const volume = await volumeByName(store, name)
    checkNoMove(volume)
    const { held, silent } = await this.#holdings(volume)
    const owner = held.find(({ host }) => host.id === volume.ownerHostId)
    const compared = (owner?.holding.record.snapshots ?? []).filter(({ differs }) => differs === true)
    const kept = silent.length > 0 ? [] : compared
    const differing = held.filter(({ holding }) =>
      [holding, ...(holding.beside ?? [])].some(({ record }) => isDifferingReplica(record)),
    )
    if (differing.length === 0 && kept.length === 0) {
      throw new DroverError(
        'NO_SUCH_REPLICA',
        `volume ${name} has no copy that was found to differ; nothing was removed`,
      )
    }
    for (const { host } of differing) {
      await agent(host).discardReplica({ volumeId: volume.id })
      await this.#parts.emit('replica.discarded', { volume: name, host: host.name })
    }
    for (const { name: snapshot } of kept) {
      if (owner !== undefined) await agent(owner.host).noteContent({ volumeId: volume.id, snapshot, differs: false })
    }
    return differing.map(({ host }) => host.name)
  }

  isRunning(volumeId: string): boolean {
    return this.#latest.get(volumeId)?.state === 'running'
  }

  close(): void {
    this.#stop.abort(new DroverError('CONTROL_UNREACHABLE', 'vold is stopping'))
  }

  async #holdings(volume: Volume): Promise<{ held: { host: Host; holding: Holding }[]; silent: Host[] }> {
    const held: { host: Host; holding: Holding }[] = []
    const silent: Host[] = []
    for (const host of await this.#parts.store.hosts()) {
      try {
        const holding = await this.#parts.agent(host).holding({ volumeId: volume.id })
        if (holding !== null) held.push({ host, holding })
      } catch (error) {
        if (!hasCode(error, 'HOST_UNREACHABLE', 'TIMED_OUT')) throw error
        silent.push(host)
      }
    }
    return { held, silent }
  }

  async #pairs(volume: Volume, owner: Host): Promise<Pair[]> {
    const { held, silent } = await this.#holdings(volume)
    const own = held.find(({ host }) => host.id === owner.id)?.holding.record
    const replicas = held.filter(({ host, holding }) => host.id !== owner.id && holding.record.role === 'replica')
    const [first] = silent
    if (first !== undefined && (own === undefined || replicas.length === 0)) {
      throw new DroverError(
        'HOST_UNREACHABLE',
        `host ${first.name} does not answer, and may hold what volume ${volume.name} is to be compared with; try again when it is back`,
      )
    }
    if (own === undefined) {
      throw new DroverError('DATASET_MISSING', `volume ${volume.name} has no dataset on host ${owner.name}`)
    }
    if (replicas.length === 0) {
      throw new DroverError(
        'NO_SUCH_REPLICA',
        `volume ${volume.name} has no replica on any host, so there is nothing to compare with; vol move leaves one for 24 hours`,
      )
    }
    return replicas.map(({ host, holding }) => {
      const there = new Map(holding.record.snapshots.map((snapshot) => [treeIdentity(snapshot), snapshot.name]))
      const base = own.snapshots.findLast((snapshot) => there.has(treeIdentity(snapshot)))
      const onReplica = base && there.get(treeIdentity(base))
      return {
        replica: host,
        common: base === undefined || onReplica === undefined ? null : { onOwner: base.name, onReplica },
      }
    })
  }

  async #run(volume: Volume, owner: Host, pairs: readonly Pair[]): Promise<void> {
    const { clock, logger } = this.#parts
    let state: VerificationView['state'] = 'equal'
    for (const pair of pairs) {
      const result = await this.#pair(volume, owner, pair)
      if (this.#stop.signal.aborted) return
      if (result.state === 'differs' || (result.state === 'failed' && state === 'equal')) state = result.state
      this.#change(volume, (view) => ({
        ...view,
        replicas: view.replicas.map((other) =>
          other.host === pair.replica.name ? { ...other, progress: null, result } : other,
        ),
      }))
      const { snapshot, digests, entries, bytes, differences, reason } = result
      const data = { volume: volume.name, owner: owner.name, replica: pair.replica.name, state: result.state }
      await this.#parts
        .emit('volume.verified', { ...data, snapshot, digests, entries, bytes, differences, reason })
        .catch((error) => logger.warn({ error: String(error) }, 'the receipt of a verification was not kept'))
    }
    this.#change(volume, (view) => ({ ...view, state, endedAt: isoNow(clock) }))
  }

  /** Never rejects. */
  async #pair(volume: Volume, owner: Host, { replica, common }: Pair): Promise<Verification> {
    const { clock, agent } = this.#parts
    const failed = (reason: string): Verification => ({
      state: 'failed',
      snapshot: common?.onOwner ?? '',
      algorithm,
      digests: {},
      entries: 0,
      bytes: 0,
      differences: [],
      reason,
      at: isoNow(clock),
    })
    if (common === null) {
      return failed(
        `the replica on host ${replica.name} and the owner on host ${owner.name} have no snapshot in common`,
      )
    }
    const [here, there] = [agent(owner), agent(replica)]
    const args: VerifyArgs = {
      verificationId: `verify.${volume.id}.${replica.id}`,
      volumeId: volume.id,
      sides: [
        { host: owner.name, agent: here, snapshot: common.onOwner },
        { host: replica.name, agent: there, snapshot: common.onReplica },
      ],
      clock,
      signal: this.#stop.signal,
      onProgress: ([one, other]) => {
        const progress = { entries: Math.min(one.entries, other.entries), bytes: Math.min(one.bytes, other.bytes) }
        this.#change(volume, (view) => ({
          ...view,
          replicas: view.replicas.map((each) => (each.host === replica.name ? { ...each, progress } : each)),
        }))
      },
    }
    try {
      const result = await this.#patiently(() => verifySnapshot(args))
      const differs = result.state === 'differs'
      await this.#patiently(async () => {
        await here.noteContent({ volumeId: volume.id, snapshot: common.onOwner, differs })
        await there.noteContent({ volumeId: volume.id, snapshot: common.onReplica, differs })
        await endVerification(args)
      })
      return result
    } catch (error) {
      return failed(asDroverError(error).message)
    }
  }

  async #patiently<T>(work: () => Promise<T>): Promise<T> {
    for (let left = tries; ; left -= 1) {
      try {
        return await work()
      } catch (error) {
        if (this.#stop.signal.aborted || left === 1 || !hasCode(error, 'HOST_UNREACHABLE', 'TIMED_OUT')) throw error
      }
      await this.#parts.clock.sleep(betweenTriesMs, this.#stop.signal)
    }
  }

  #change(volume: Volume, change: (view: VerificationView) => VerificationView): void {
    const view = this.#latest.get(volume.id)
    if (view !== undefined) this.#latest.set(volume.id, change(view))
  }
}
