import type {
  Control,
  CreateVolumeRequest,
  HostView,
  MovePlan,
  MoveView,
  PoolView,
  RecoverReport,
  VerificationView,
  VolumeDetail,
  VolumeView,
} from '../../src/control/control.ts'
import type { DoctorReport } from '../../src/control/doctor.ts'
import { DroverError } from '../../src/domain/errors.ts'
import { clusterId, type HostId, hostId, moveId, volumeId } from '../../src/domain/ids.ts'
import { atBegin, isEnded, type MoveRequest } from '../../src/domain/move.ts'
import type { StoredEvent } from '../../src/state/store.ts'

export const hostIds = [hostId('01jhost0000000000000000001'), hostId('01jhost0000000000000000002')] as const
export const theClusterId = clusterId('01jcluster0000000000000001')
const pool = 'btrfs:/pool'
const at = '2026-11-23T20:00:00.000Z'

/**
 * The control role in memory, with its refusals: two hosts with a pool each; names are taken once; versions are compared;
 * one move of a volume at a time. A move goes on when `step` is called, or by itself a phase per look when `running`.
 */
export class FakeControl implements Control {
  readonly rows = new Map<string, VolumeView>()
  readonly journal = new Map<string, MoveView>()
  readonly kept: StoredEvent[] = []
  readonly calls: string[] = []
  /** Of every plan. */
  cloud: MovePlan['cloud'] = null
  readonly listeners = new Set<(event: StoredEvent) => void>()
  hostRows: HostView[] = hostIds.map((id, index) => ({
    id,
    name: `host${index + 1}`,
    address: `10.0.0.${index + 1}:7460`,
    dataAddress: `10.0.0.${index + 1}:7461`,
    pools: [pool],
    control: index === 0,
    fingerprint: 'f'.repeat(64),
    joinedAt: at,
    reachable: true,
    version: '0.1.0',
  }))
  /** A look at a move takes it a phase further. */
  running = true
  /** The next move ends so. */
  failure: MoveView['error'] = null
  private next = 0

  async createVolume(request: CreateVolumeRequest): Promise<VolumeView> {
    this.calls.push(`createVolume ${JSON.stringify(request)}`)
    if (this.rows.has(request.name)) throw new DroverError('VOLUME_EXISTS', `volume ${request.name} exists; use it`)
    const host = this.host(request.host ?? 'host1')
    if (request.pool !== undefined && request.pool !== pool) {
      throw new DroverError('NO_SUCH_POOL', `host ${host.name} has no pool ${request.pool}; see vol pools`)
    }
    const row: VolumeView = {
      id: volumeId(this.id('vol')),
      name: request.name,
      state: 'ready',
      owner: host.name,
      ownerHostId: host.id,
      pool,
      epoch: 1,
      reservedEpoch: 1,
      openMoveId: null,
      sizeBytes: request.sizeBytes ?? null,
      usedBytes: 16_384,
      labels: request.labels,
      options: {},
      createdAt: at,
      version: 1,
    }
    this.rows.set(row.name, row)
    this.emit('volume.created', { name: row.name })
    return row
  }

  async volumes(): Promise<VolumeView[]> {
    return [...this.rows.values()]
  }

  async volume(name: string): Promise<VolumeDetail> {
    const row = this.row(name)
    return {
      ...row,
      mounted: true,
      containers: [{ name: 'pg', state: 'running' }],
      snapshots: [{ host: row.owner, name: 'base', createdAt: at }],
      replicas: [{ host: 'host2', pool, role: 'replica', base: 'base', keepUntil: null }],
      partials: [],
      holders: [],
      unreachable: [],
      move: row.openMoveId === null ? null : (this.journal.get(row.openMoveId) ?? null),
    }
  }

  async removeVolume(name: string, options: { force: boolean; ifVersion?: number | undefined }): Promise<void> {
    this.calls.push(`removeVolume ${name} ${JSON.stringify(options)}`)
    const row = this.row(name)
    this.checkVersion(row, options.ifVersion)
    if (row.openMoveId !== null) throw new DroverError('MOVE_UNDER_WAY', `volume ${name} is being moved`)
    this.rows.delete(name)
    this.emit('volume.removed', { name })
  }

  async resizeVolume(
    name: string,
    sizeBytes: number,
    options: { ifVersion?: number | undefined },
  ): Promise<VolumeView> {
    const row = this.row(name)
    this.checkVersion(row, options.ifVersion)
    const next = { ...row, sizeBytes, version: row.version + 1 }
    this.rows.set(name, next)
    return next
  }

  async planMove(name: string, request: MoveRequest): Promise<MovePlan> {
    const row = this.row(name)
    this.checkTarget(row, request)
    return {
      volume: name,
      from: row.owner,
      to: request.to,
      targetPool: request.pool ?? pool,
      strategy: 'native-full',
      base: null,
      forecast: { bytes: 3 * 2 ** 20, ms: 1500, downtimeMs: 800 },
      containers: [{ name: 'pg', state: 'running' }],
      cloud: this.cloud,
      freeBytesOnTarget: 2 ** 30,
    }
  }

  async startMove(name: string, request: MoveRequest): Promise<MoveView> {
    this.calls.push(`startMove ${name} ${JSON.stringify(request)}`)
    const row = this.row(name)
    if (row.openMoveId !== null) {
      throw new DroverError(
        'MOVE_UNDER_WAY',
        `volume ${name} is being moved already; see vol move-status ${row.openMoveId}`,
      )
    }
    const target = this.checkTarget(row, request)
    const move: MoveView = {
      ...atBegin,
      id: moveId(this.id('move')),
      volumeId: row.id,
      volumeName: name,
      sourceHostId: row.ownerHostId,
      targetHostId: target.id,
      sourcePool: pool,
      targetPool: request.pool ?? pool,
      epoch: row.epoch + 1,
      returnEpoch: row.epoch + 2,
      request,
      phase: 'precopy',
      forecast: { bytes: 3 * 2 ** 20, ms: 1500, downtimeMs: 800 },
      startedAt: at,
      from: row.owner,
      to: target.name,
      progress: { round: 1, bytes: 2 ** 20, totalBytes: 2 ** 21, bytesPerSecond: 2 ** 20, remainingMs: 1000 },
      queuedBehind: null,
      waitsFor: null,
      totalBytes: 0,
    }
    this.journal.set(move.id, move)
    this.rows.set(name, { ...row, openMoveId: move.id })
    this.emit('move.started', { id: move.id, volume: name })
    return move
  }

  async planGroup(label: string, request: MoveRequest): Promise<MovePlan[]> {
    return Promise.all(this.labelled(label).map((name) => this.planMove(name, request)))
  }

  async startGroup(label: string, request: MoveRequest): Promise<MoveView[]> {
    const moves = await Promise.all(this.labelled(label).map((name) => this.startMove(name, request)))
    const [lead] = moves
    return moves.map((move) => this.put(lead === undefined ? move : { ...move, groupId: lead.id }))
  }

  private labelled(label: string): string[] {
    const [key = '', value = ''] = label.split('=')
    const names = [...this.rows.values()].filter(({ labels }) => labels[key] === value).map(({ name }) => name)
    if (names.length > 0) return names
    throw new DroverError('NO_SUCH_VOLUME', `no volume has the label ${label}`)
  }

  /** precopy -> delta -> done, or aborted. */
  step(id: string): MoveView {
    const move = this.move0(id)
    if (isEnded(move)) return move
    const row = this.row(move.volumeName)
    if (move.cancelRequested || this.failure !== null) {
      const error = this.failure ?? { code: 'MOVE_CANCELLED' as const, message: `move ${id} was cancelled` }
      this.rows.set(row.name, { ...row, openMoveId: null })
      return this.put({ ...move, state: 'aborted', error, progress: null, endedAt: '2026-11-23T20:00:02.000Z' })
    }
    if (move.phase === 'precopy') {
      const rounds = [{ snapshot: 's1', base: null, bytes: 2 ** 21, ms: 1000 }]
      return this.put({ ...move, phase: 'delta', rounds, progress: null, totalBytes: 2 ** 21 })
    }
    const rounds = [...move.rounds, { snapshot: 's2', base: 's1', bytes: 2 ** 20, ms: 400 }]
    const owner = { owner: move.to, ownerHostId: move.targetHostId, epoch: move.epoch, openMoveId: null }
    this.rows.set(row.name, { ...row, ...owner, version: row.version + 1 })
    const endedAt = '2026-11-23T20:00:02.000Z'
    const totalBytes = 3 * 2 ** 20
    return this.put({ ...move, state: 'done', phase: 'retire', rounds, downtimeMs: 640, totalBytes, endedAt })
  }

  async moves(filter: {
    volume?: string | undefined
    group?: string | undefined
    open?: boolean | undefined
  }): Promise<MoveView[]> {
    if (this.running) for (const { id, groupId } of this.journal.values()) if (groupId === filter.group) this.step(id)
    return [...this.journal.values()].filter(
      (move) =>
        (filter.volume === undefined || move.volumeName === filter.volume) &&
        (filter.group === undefined || move.groupId === filter.group) &&
        (filter.open !== true || !isEnded(move)),
    )
  }

  async move(id: string): Promise<MoveView> {
    return this.running ? this.step(id) : this.move0(id)
  }

  async cancelMove(id: string): Promise<MoveView> {
    const move = this.move0(id)
    if (isEnded(move)) throw new DroverError('TOO_LATE', `move ${id} has ended; nothing was cancelled`)
    return this.put({ ...move, cancelRequested: true })
  }

  /** What `vol verify` is told, one after the other; the last again and again. */
  verificationViews: VerificationView[] = []

  async startVerification(name: string): Promise<VerificationView> {
    this.row(name)
    return this.verification(name)
  }

  async verification(name: string): Promise<VerificationView> {
    const [first] = this.verificationViews
    if (this.verificationViews.length > 1) this.verificationViews.shift()
    if (first !== undefined) return first
    throw new DroverError('NO_SUCH_REPLICA', `volume ${name} has no replica on any host`)
  }

  async discardDiffering(name: string): Promise<string[]> {
    this.row(name)
    return ['host2']
  }

  async hosts(): Promise<HostView[]> {
    return this.hostRows
  }

  async removeHost(name: string): Promise<void> {
    const host = this.host(name)
    if ([...this.rows.values()].some((row) => row.owner === name)) {
      throw new DroverError('HOST_HAS_VOLUMES', `host ${name} holds volumes; move or remove them first`)
    }
    this.hostRows = this.hostRows.filter((row) => row !== host)
  }

  async pools(): Promise<PoolView[]> {
    return this.hostRows.map((host) => ({
      host: host.name,
      spec: pool,
      kind: 'btrfs',
      totalBytes: 10 * 2 ** 30,
      freeBytes: 8 * 2 ** 30,
      volumes: [...this.rows.values()].filter((row) => row.owner === host.name).length,
    }))
  }

  async issueToken(ttlMs: number): Promise<{ token: string; command: string; expiresAt: string }> {
    this.calls.push(`issueToken ${ttlMs}`)
    return { token: 'tok', command: 'vol join 10.0.0.1:7460 --token tok', expiresAt: at }
  }

  async recover({ dryRun }: { dryRun: boolean }): Promise<RecoverReport> {
    this.calls.push(`recover ${dryRun}`)
    const volumes = [...this.rows.values()].map(({ id, name, owner, epoch }) => ({
      ...{ id, name, outcome: 'owner' as const, host: owner, epoch, superseded: [] },
      reason: 'its record there says owner',
    }))
    const [first = '', ...silent] = this.hostRows.map(({ name }) => name)
    return { needed: true, dryRun, term: 1, answered: [first], silent, volumes }
  }

  async doctor({ fix }: { fix: boolean }): Promise<DoctorReport> {
    this.calls.push(`doctor ${fix}`)
    const what = 'partial receive move-1 of volume db; the move has ended'
    const found = { kind: 'partial', host: 'host2', what, action: 'remove it', advice: null }
    return fix ? { findings: [], fixed: [found] } : { findings: [{ ...found, problem: null }], fixed: [] }
  }

  async events(after: number, limit: number): Promise<StoredEvent[]> {
    return this.kept.filter((event) => event.sequence > after).slice(0, limit)
  }

  async lastEventSequence(): Promise<number> {
    return this.kept.length
  }

  onEvent(listener: (event: StoredEvent) => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  emit(type: string, data: StoredEvent['data']): void {
    const event = { sequence: this.kept.length + 1, at, type, data }
    this.kept.push(event)
    for (const listener of this.listeners) listener(event)
  }

  idOf(name: string): HostId {
    return this.host(name).id
  }

  private put(move: MoveView): MoveView {
    const next = { ...move, version: move.version + 1 }
    this.journal.set(move.id, next)
    this.emit('move.changed', { id: move.id, state: next.state, phase: next.phase })
    return next
  }

  private move0(id: string): MoveView {
    const move = this.journal.get(id)
    if (move === undefined) throw new DroverError('NO_SUCH_MOVE', `there is no move ${id}; see vol moves`)
    return move
  }

  private row(name: string): VolumeView {
    const row = this.rows.get(name)
    if (row === undefined) throw new DroverError('NO_SUCH_VOLUME', `there is no volume ${name}; see vol ls`)
    return row
  }

  private host(name: string): HostView {
    const host = this.hostRows.find((row) => row.name === name)
    if (host === undefined) throw new DroverError('NO_SUCH_HOST', `there is no host ${name}; see vol hosts`)
    return host
  }

  private checkTarget(row: VolumeView, request: MoveRequest): HostView {
    const target = this.host(request.to)
    if (target.name === row.owner)
      throw new DroverError('MOVE_TO_ITSELF', `volume ${row.name} is on ${row.owner} already`)
    return target
  }

  private checkVersion(row: VolumeView, ifVersion: number | undefined): void {
    if (ifVersion === undefined || ifVersion === row.version) return
    throw new DroverError('PRECONDITION_FAILED', `volume ${row.name} changed since it was read; read it again`)
  }

  private id(kind: string): string {
    this.next += 1
    return `01j${kind}${String(this.next).padStart(23 - kind.length, '0')}`
  }
}
