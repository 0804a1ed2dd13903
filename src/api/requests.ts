import { z } from './zod.ts'

/** What comes in: checked by these, typed by these, described by these. Unknown fields are refused. */

const bytes = z.int().positive().openapi({ description: 'bytes' })
const milliseconds = z.int().nonnegative().openapi({ description: 'milliseconds' })
const flag = z
  .enum(['', 'true', '1', 'false', '0'])
  .transform((text) => !['false', '0'].includes(text))
  .openapi({ type: 'boolean' })

export const volumeParams = z.strictObject({ name: z.string() })
export const hostParams = z.strictObject({ name: z.string() })
export const moveParams = z.strictObject({ id: z.string() })

export const pageQuery = z.strictObject({
  limit: z.coerce.number().int().min(1).max(1000).default(100),
  cursor: z.string().optional().openapi({ description: 'nextCursor of the page before' }),
})

export const movesQuery = pageQuery.extend({
  volume: z.string().optional(),
  group: z.string().optional().openapi({ description: 'groupId of moves: only those of that group' }),
  open: flag.optional().openapi({ description: 'only moves that have not ended' }),
})

export const cancelQuery = z.strictObject({
  targetLost: flag.default(false).openapi({
    description:
      'of a move that has committed and not been taken over: its target is lost for good, the volume goes back to the source',
  }),
})

export const removeQuery = z.strictObject({
  force: flag.default(false).openapi({ description: 'also when stopped containers refer to it' }),
})

export const eventsQuery = z.strictObject({
  after: z.coerce
    .number()
    .int()
    .nonnegative()
    .optional()
    .openapi({ description: 'sequence of the last event that is known; Last-Event-ID goes before it' }),
  limit: z.coerce.number().int().min(1).max(1000).default(1000).openapi({ description: 'of a JSON answer' }),
})

export const createVolumeBody = z
  .strictObject({
    name: z.string().openapi({ pattern: '^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$' }),
    host: z.string().optional().openapi({ description: 'default: the host that the request comes through' }),
    pool: z.string().optional(),
    sizeBytes: bytes.optional().openapi({ description: 'bytes; without it, the pool is the limit' }),
    labels: z.record(z.string(), z.string()).default({}),
    options: z
      .record(z.string(), z.string())
      .optional()
      .openapi({
        description: 'of ZFS pools: profile, compression, recordsize, encryption',
        example: { profile: 'postgresql' },
      }),
  })
  .openapi('CreateVolume')

export const resizeVolumeBody = z.strictObject({ sizeBytes: bytes }).openapi('ResizeVolume')

export const startMoveBody = z
  .strictObject({
    to: z
      .string()
      .optional()
      .openapi({ description: 'name of the target host; without it the volume goes to another pool of its own host' }),
    pool: z.string().optional().openapi({ description: 'on the target' }),
    quiesce: z.enum(['stop', 'pause']).default('stop'),
    containers: z.enum(['move', 'stop', 'refuse']).default('move'),
    maxDowntimeMs: milliseconds.optional(),
    keepGoing: z.boolean().optional().openapi({ description: 'go on although maxDowntimeMs cannot be kept' }),
    noReturn: z
      .boolean()
      .optional()
      .openapi({ description: 'stay on the target although the containers do not become healthy there' }),
    bwlimitBytes: bytes.optional().openapi({ description: 'bytes per second, on the wire' }),
    compress: z.enum(['none', 'zstd']).optional().openapi({ description: 'how the stream is packed on the wire' }),
    dropMounts: z.array(z.string()).default([]),
    healthTimeoutMs: milliseconds.default(60_000),
    onlyIdle: z.boolean().default(false).openapi({ description: 'refuse unless nothing uses the volume' }),
    verify: z
      .boolean()
      .default(false)
      .openapi({ description: 'compare the content on both hosts, once the writers run again' }),
    dryRun: z.boolean().default(false).openapi({ description: 'answer the plan and do nothing' }),
  })
  .openapi('StartMove')

export const startGroupBody = startMoveBody
  .omit({ onlyIdle: true })
  .extend({
    to: z.string().openapi({ description: 'name of the target host' }),
    group: z.string().min(1).openapi({
      description: 'label of the volumes, KEY=VALUE or KEY; all of them move as one, cut at a single point',
    }),
  })
  .openapi('StartGroup')

export const verifyBody = z
  .strictObject({
    discard: z
      .boolean()
      .default(false)
      .openapi({ description: 'instead, remove the replicas that were found to differ' }),
  })
  .openapi('Verify')

export const recoverBody = z
  .strictObject({
    dryRun: z.boolean().default(false).openapi({ description: 'tell what would be done, and do nothing' }),
  })
  .openapi('Recover')

export const fixBody = z.strictObject({}).openapi('Fix')

export const issueTokenBody = z
  .strictObject({ ttlMs: z.int().min(1000).max(2_592_000_000).default(86_400_000) })
  .openapi('IssueToken')

export const joinClusterBody = z
  .strictObject({
    address: z.string().openapi({ description: 'ADDR:PORT of a host of the cluster' }),
    token: z.string(),
    adopt: z.boolean().default(false),
  })
  .openapi('JoinCluster')

export const joinBody = z
  .strictObject({
    secret: z.string(),
    csrPem: z.string(),
    renews: z
      .string()
      .optional()
      .openapi({ description: 'the certificate, ended or not, of a host that has joined before and stays who it is' }),
    hostName: z.string(),
    address: z.string(),
    dataAddress: z.string(),
    pools: z.array(z.string()),
    volumes: z
      .array(
        z.strictObject({
          id: z.string(),
          name: z.string(),
          pool: z.string(),
          epoch: z.int().nonnegative(),
          seen: z.int().nonnegative(),
          sizeBytes: bytes.nullable(),
          labels: z.record(z.string(), z.string()),
          createdAt: z.string(),
        }),
      )
      .default([])
      .openapi({ description: 'volumes that the host brings along and goes on owning' }),
  })
  .openapi('JoinRequest')

export const emptyBody = z.strictObject({}).openapi('Nothing')
