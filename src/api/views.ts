import { type ErrorCode, errorKinds } from '../domain/errors.ts'
import { phases } from '../domain/move.ts'
import { holderKinds } from '../volumes/holders.ts'
import { z } from './zod.ts'

/** What goes out. Handlers are typed by these, so that the document and the control role cannot drift apart. */

const texts = z.record(z.string(), z.string()).readonly()
const list = <T extends z.ZodType>(item: T) => z.array(item).readonly()
const codes = Object.keys(errorKinds) as [ErrorCode, ...ErrorCode[]]

export const pageOf = <T extends z.ZodType>(item: T) =>
  z.object({ items: z.array(item), nextCursor: z.string().nullable() })

const containerView = z.object({ name: z.string(), state: z.string() })
const forecastView = z.object({ bytes: z.number(), ms: z.number(), downtimeMs: z.number() }).openapi('Forecast')

export const verificationResult = z
  .object({
    state: z.enum(['equal', 'differs', 'failed']),
    snapshot: z.string(),
    algorithm: z.string(),
    digests: texts.openapi({ description: 'by host name' }),
    entries: z.number(),
    bytes: z.number(),
    differences: list(z.object({ path: z.string(), what: z.string() })).openapi({ description: 'the first ten' }),
    reason: z.string().nullable(),
    at: z.string(),
  })
  .openapi('VerificationResult')

export const verificationView = z
  .object({
    volume: z.string(),
    owner: z.string(),
    state: z.enum(['running', 'equal', 'differs', 'failed']),
    startedAt: z.string(),
    endedAt: z.string().nullable(),
    replicas: list(
      z.object({
        host: z.string(),
        progress: z.object({ entries: z.number(), bytes: z.number() }).nullable(),
        result: verificationResult.nullable(),
      }),
    ),
  })
  .openapi('Verification')

export const discardedView = z.object({ hosts: list(z.string()) }).openapi('Discarded')

export const moveView = z
  .object({
    id: z.string(),
    volumeId: z.string(),
    volumeName: z.string(),
    groupId: z.string().optional().openapi({ description: 'of moves that go as one: the id of one of them' }),
    from: z.string(),
    to: z.string(),
    sourceHostId: z.string(),
    targetHostId: z.string(),
    sourcePool: z.string(),
    targetPool: z.string(),
    epoch: z.number(),
    returnEpoch: z.number(),
    request: z.object({
      to: z.string(),
      pool: z.string().optional(),
      quiesce: z.enum(['stop', 'pause']),
      containers: z.enum(['move', 'stop', 'refuse']),
      maxDowntimeMs: z.number().optional(),
      bwlimitBytes: z.number().optional(),
      compress: z.enum(['none', 'zstd']).optional(),
      dropMounts: list(z.string()),
      healthTimeoutMs: z.number(),
      onlyIdle: z.boolean(),
      verify: z.boolean().optional(),
      keepGoing: z.boolean().optional(),
      noReturn: z.boolean().optional(),
    }),
    state: z.enum(['open', 'verified', 'committed', 'active', 'done', 'aborted']),
    phase: z.enum(phases),
    cancelRequested: z.boolean(),
    rounds: list(
      z.object({
        snapshot: z.string(),
        base: z.string().nullable(),
        bytes: z.number(),
        ms: z.number(),
        wireBytes: z.number().optional().openapi({ description: 'what went over the link to carry them' }),
        resentBytes: z.number().optional().openapi({ description: 'sent again because a link broke' }),
        reconnects: z.number().optional().openapi({ description: 'links after the first' }),
      }),
    ),
    forecast: forecastView.nullable(),
    finalSnapshot: z.string().nullable(),
    quiescedAt: z.string().nullable(),
    downtimeMs: z.number().nullable(),
    forecastDowntimeMs: z
      .number()
      .nullable()
      .openapi({ description: 'downtimeMs as it was forecast right before the writers were stopped' }),
    phaseTimes: list(z.object({ phase: z.enum(phases), ms: z.number() })),
    returnOf: z.string().nullable().openapi({ description: 'the move that this one takes back' }),
    returnedBy: z.string().nullable().openapi({ description: 'the move that takes this one back' }),
    returnDue: z.boolean().openapi({ description: 'it is taken back as soon as it has ended' }),
    warnings: list(z.string()),
    error: z.object({ code: z.enum(codes), message: z.string() }).nullable(),
    verification: verificationResult.nullable().optional(),
    progress: z
      .object({
        round: z.number(),
        bytes: z.number(),
        totalBytes: z.number(),
        bytesPerSecond: z.number(),
        remainingMs: z.number().nullable(),
      })
      .nullable(),
    queuedBehind: z
      .number()
      .nullable()
      .openapi({ description: 'moves that wait before it for a slot on its hosts; null: it does not wait' }),
    waitsFor: z
      .string()
      .nullable()
      .openapi({ description: 'who keeps the volume busy, while the move waits for them' }),
    totalBytes: z.number(),
    startedAt: z.string(),
    endedAt: z.string().nullable(),
    version: z.number(),
  })
  .openapi('Move')

export const volumeView = z
  .object({
    id: z.string(),
    name: z.string(),
    state: z.enum(['creating', 'ready', 'deleting', 'unknown']),
    owner: z.string().openapi({ description: 'name of the owning host' }),
    ownerHostId: z.string(),
    pool: z.string(),
    epoch: z.number(),
    reservedEpoch: z.number(),
    openMoveId: z.string().nullable(),
    sizeBytes: z.number().nullable(),
    usedBytes: z.number().nullable(),
    labels: texts,
    options: texts,
    createdAt: z.string(),
    version: z.number(),
  })
  .openapi('Volume')

export const volumeDetail = volumeView
  .extend({
    mounted: z.boolean(),
    containers: list(containerView),
    snapshots: list(z.object({ host: z.string(), name: z.string(), createdAt: z.string() })),
    replicas: list(
      z.object({
        host: z.string(),
        pool: z.string(),
        role: z.string(),
        base: z.string().nullable(),
        keepUntil: z.string().nullable(),
      }),
    ),
    partials: list(z.object({ host: z.string(), name: z.string() })),
    holders: list(
      z.object({
        host: z.string(),
        pid: z.number(),
        command: z.string(),
        kinds: list(z.enum(holderKinds)),
        mountPoints: list(z.string()),
        namespace: z.string(),
        hostNamespace: z.boolean(),
        containerId: z.string().nullable(),
        containerName: z.string().nullable(),
      }),
    ).openapi({ description: 'who keeps it mounted or open beside the containers of the engine' }),
    unreachable: list(z.string()).openapi({ description: 'hosts whose part is not in the lists' }),
    move: moveView.nullable(),
  })
  .openapi('VolumeDetail')

export const movePlan = z
  .object({
    volume: z.string(),
    from: z.string(),
    to: z.string(),
    targetPool: z.string(),
    strategy: z.enum([
      'native-full',
      'native-incremental',
      'tree-full',
      'tree-incremental',
      'snapshot-full',
      'snapshot-incremental',
      'handover',
    ]),
    base: z.string().nullable(),
    forecast: forecastView,
    cloud: z
      .object({
        apiCalls: z
          .number()
          .openapi({ description: 'calls to EC2 that change something or ask, of both hosts, about' }),
        snapshotBytes: z.number().openapi({ description: 'most that its snapshots hold that none before them did' }),
        snapshotGibMonths: z.number().openapi({ description: 'for as long as Drover keeps what it makes of them' }),
        volumeGibMonths: z.number().openapi({ description: 'of the second volume, while there are two' }),
        transferBytes: z.number().openapi({ description: 'of data between zones or regions' }),
        cost: z
          .object({ amount: z.number(), currency: z.string() })
          .nullable()
          .openapi({ description: 'by the price file of the control host; null: it has none' }),
      })
      .nullable()
      .openapi({ description: 'what EC2 is asked for, and bills; null: nothing by this way' }),
    containers: list(containerView),
    freeBytesOnTarget: z.number(),
  })
  .openapi('MovePlan')

export const groupView = z.object({ groupId: z.string(), moves: list(moveView) }).openapi('Group')
export const groupPlan = z.object({ moves: list(movePlan) }).openapi('GroupPlan')

export const hostView = z
  .object({
    id: z.string(),
    name: z.string(),
    address: z.string(),
    dataAddress: z.string(),
    pools: list(z.string()),
    control: z.boolean(),
    fingerprint: z.string(),
    joinedAt: z.string(),
    reachable: z.boolean(),
    version: z.string().nullable(),
  })
  .openapi('Host')

export const poolView = z
  .object({
    host: z.string(),
    spec: z.string(),
    kind: z.string(),
    totalBytes: z.number(),
    freeBytes: z.number(),
    volumes: z.number(),
  })
  .openapi('Pool')

export const eventView = z
  .object({
    sequence: z.number(),
    at: z.string(),
    type: z.string(),
    data: z.record(z.string(), z.unknown()).readonly(),
  })
  .openapi('Event')

export const tokenView = z
  .object({
    token: z.string(),
    command: z.string().openapi({ description: 'the line that the next host runs' }),
    expiresAt: z.string(),
  })
  .openapi('Token')

export const versionView = z
  .object({
    version: z.string(),
    hostName: z.string(),
    hostId: z.string(),
    clusterId: z.string(),
    control: z.boolean(),
  })
  .openapi('Version')

export const joinedView = z
  .object({ hostName: z.string(), hostId: z.string(), clusterId: z.string(), controlAddress: z.string() })
  .openapi('Joined')

export const joinAnswer = z
  .object({
    clusterId: z.string(),
    hostId: z.string(),
    controlHostId: z.string(),
    caPem: z.string(),
    certPem: z.string(),
  })
  .openapi('JoinAnswer')

export const healthView = z.object({ status: z.enum(['ok', 'failing']), problems: z.array(z.string()).optional() })

export const problemView = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.number(),
    detail: z.string().openapi({ description: 'what happened, to what, what to do' }),
    code: z.enum(codes),
    retryable: z.boolean(),
    details: z.record(z.string(), z.unknown()).optional(),
  })
  .openapi('Problem')

export type Problem = z.output<typeof problemView>

export const recoverReport = z
  .object({
    needed: z.boolean().openapi({ description: 'false: no host has seen a newer store, no volume is unknown' }),
    dryRun: z.boolean(),
    term: z.number(),
    answered: list(z.string()),
    silent: list(z.string()),
    volumes: list(
      z.object({
        id: z.string(),
        name: z.string(),
        outcome: z.enum(['owner', 'taken-back', 'unknown', 'dropped', 'left']),
        host: z.string().nullable(),
        epoch: z.number().nullable(),
        superseded: list(z.string()),
        reason: z.string(),
      }),
    ),
  })
  .openapi('RecoverReport')

const finding = z.object({
  kind: z.string(),
  host: z.string().nullable(),
  what: z.string(),
  action: z.string().nullable().openapi({ description: 'what fixing does; null: nothing' }),
  advice: z.string().nullable(),
})

export const doctorReport = z
  .object({
    findings: list(finding.extend({ problem: z.string().nullable().openapi({ description: 'why it was not fixed' }) })),
    fixed: list(finding),
  })
  .openapi('DoctorReport')
