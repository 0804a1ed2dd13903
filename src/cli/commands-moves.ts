import { type Command, Option } from 'commander'
import type { MovePlan, MoveView } from '../control/control.ts'
import { DroverError } from '../domain/errors.ts'
import { isEnded } from '../domain/move.ts'
import { checkVolumeName } from '../domain/names.ts'
import { formatDuration, formatSize, parseDuration } from '../domain/units.ts'
import { collect, given, parseRate } from './arguments.ts'
import { type Context, segment, show, showTable } from './context.ts'
import { describeDowntime, followGroup, followMove, summary } from './follow-move.ts'
import type { Run } from './program.ts'
import { waiting } from './progress.ts'
import { receipt } from './receipt.ts'
import { fields } from './table.ts'

interface MoveOptions {
  readonly group?: string
  readonly to?: string
  readonly pool?: string
  readonly maxDowntime?: number
  readonly quiesce?: string
  readonly containers?: string
  readonly bwlimit?: number
  readonly compress?: string
  readonly dropMount?: readonly string[]
  readonly healthTimeout?: number
  readonly verify: boolean
  readonly keepGoing?: boolean
  readonly return: boolean
  readonly dryRun: boolean
  readonly detach: boolean
}

const pathOf = (id: string): string => `/v1/moves/${segment(id)}`

/** move, moves, move-status, cancel. */
export const addMoveCommands = (program: Command, run: Run): void => {
  program
    .command('move')
    .description('move a volume, and the containers that use it, to another host, or to another pool of its host')
    .argument('[name]', '', checkVolumeName)
    .option('--group <label>', 'instead of a name: all volumes with the label KEY=VALUE or KEY, cut at a single point')
    .option('--to <host>', 'where to; left out, and with --pool: within its host')
    .option('--pool <pool>', 'on the target, as vol pools names it')
    .option('--max-downtime <time>', 'stop, and let the writer go on, rather than take longer', parseDuration)
    .addOption(new Option('--quiesce <how>', 'how the writers are stilled (default: stop)').choices(['stop', 'pause']))
    .addOption(
      new Option('--containers <what>', 'what becomes of them (default: move)').choices(['move', 'stop', 'refuse']),
    )
    .option('--bwlimit <rate>', 'bytes per second on the wire, such as 50M', parseRate)
    .addOption(new Option('--compress <how>', 'pack the stream on the wire (default: none)').choices(['none', 'zstd']))
    .option('--drop-mount <path>', 'leave the bind mount at this path behind; may be given again', collect)
    .option('--health-timeout <time>', 'wait this long for health on the target (default: 60s)', parseDuration)
    .option('--verify', 'compare the content on both hosts afterwards, while the writers run', false)
    .option('--keep-going', 'although --max-downtime cannot be kept')
    .option('--no-return', 'stay on the target although the containers do not become healthy there')
    .option('--dry-run', 'tell bytes, time and downtime, and do nothing', false)
    .option('--detach', 'do not wait for the end', false)
    .action(
      run(async (context, name: string | undefined, options: MoveOptions) => {
        if ((name === undefined) === (options.group === undefined)) {
          throw new DroverError('BAD_REQUEST', 'name a volume, or with --group a label; one of the two')
        }
        if (options.to === undefined && (name === undefined || options.pool === undefined)) {
          throw new DroverError(
            'BAD_REQUEST',
            'name a host with --to, or for one volume another pool of its host with --pool',
          )
        }
        if (name === undefined) return moveGroup(context, options)
        const path = `/v1/volumes/${segment(name)}/moves`
        const body = bodyOf(options)
        if (options.dryRun) {
          const plan = await context.client.call<MovePlan>('POST', path, { ...body, dryRun: true })
          show(context, plan, () => describePlan(plan))
          return 0
        }
        const move = await context.client.call<MoveView>('POST', path, body)
        if (!options.detach) return followMove(context, move)
        show(context, move, () => move.id)
        return 0
      }),
    )

  program
    .command('moves')
    .description('list the moves, newest first')
    .option('--open', 'only those that have not ended', false)
    .option('--volume <name>', 'only those of one volume')
    .option('--group <id>', 'only those of one group')
    .action(
      run(async (context, options: { open: boolean; volume?: string; group?: string }) => {
        const query = new URLSearchParams({
          ...(options.open ? { open: 'true' } : {}),
          ...given({ volume: options.volume, group: options.group }),
        } as Record<string, string>)
        showTable(context, await context.client.all<MoveView>(`/v1/moves${query.size === 0 ? '' : `?${query}`}`), {
          ID: ({ id }) => id,
          VOLUME: ({ volumeName }) => volumeName,
          FROM: ({ from }) => from,
          TO: ({ to }) => to,
          STATE: (move) => (isEnded(move) ? move.state : move.queuedBehind === null ? move.phase : 'queued'),
          BYTES: ({ totalBytes }) => formatSize(totalBytes),
          DOWNTIME: ({ downtimeMs }) => (downtimeMs === null ? '' : formatDuration(downtimeMs)),
          STARTED: ({ startedAt }) => startedAt,
          ERROR: ({ error }) => error?.code ?? '',
        })
      }),
    )

  program
    .command('move-status')
    .description('tell how far a move is')
    .argument('<id>')
    .option('--follow', 'until it ends', false)
    .action(
      run(async (context, id: string, options: { follow: boolean }) => {
        const move = await context.client.call<MoveView>('GET', pathOf(id))
        if (options.follow) return followMove(context, move)
        show(context, move, () => describeMove(move))
        return 0
      }),
    )

  program
    .command('cancel')
    .description('cancel a move that has not committed, or whose target is lost for good')
    .argument('<id>')
    .option('--target-lost', 'the target will never be back: what it has not taken over goes back to the source', false)
    .action(
      run(async (context, id: string, options: { targetLost: boolean }) => {
        const query = options.targetLost ? '?targetLost=true' : ''
        const move = await context.client.call<MoveView>('DELETE', `${pathOf(id)}${query}`)
        show(context, move, () => `move ${move.id} of ${move.volumeName} is being cancelled`)
      }),
    )
}

const moveGroup = async (context: Context, options: MoveOptions): Promise<number> => {
  const body = { ...bodyOf(options), group: options.group }
  if (options.dryRun) {
    const { moves } = await context.client.call<{ moves: MovePlan[] }>('POST', '/v1/moves', { ...body, dryRun: true })
    show(context, moves, () => moves.flatMap(describePlan))
    return 0
  }
  const { groupId, moves } = await context.client.call<{ groupId: string; moves: MoveView[] }>(
    'POST',
    '/v1/moves',
    body,
  )
  if (!options.detach) return followGroup(context, moves)
  show(context, moves, () => groupId)
  return 0
}

const bodyOf = ({ to, pool, quiesce, containers, ...options }: MoveOptions) => ({
  ...given({
    to,
    pool,
    quiesce,
    containers,
    maxDowntimeMs: options.maxDowntime,
    bwlimitBytes: options.bwlimit,
    compress: options.compress,
    dropMounts: options.dropMount,
    healthTimeoutMs: options.healthTimeout,
    verify: options.verify || undefined,
    keepGoing: options.keepGoing,
    noReturn: options.return ? undefined : true,
  }),
})

const howOf = ({ strategy, base, cloud }: MovePlan): string => {
  if (strategy === 'handover') return 'the disk itself is detached here and attached there, nothing is copied'
  if (strategy.startsWith('snapshot') && (cloud?.transferBytes ?? 0) > 0)
    return 'by snapshots that EC2 copies to the other region, of which the target makes its volume there'
  if (strategy.startsWith('snapshot'))
    return 'by snapshots that EC2 keeps, of which the target makes its volume; nothing is sent'
  return `${base === null ? 'in full' : `what changed since ${base}`}${strategy.startsWith('tree') ? ', file by file' : ''}`
}

const billOf = ({ apiCalls, cost, ...units }: NonNullable<MovePlan['cloud']>): string =>
  [
    `about ${apiCalls} API calls`,
    `at most ${formatSize(units.snapshotBytes)} in snapshots (${units.snapshotGibMonths} GiB-months)`,
    `${units.volumeGibMonths} GiB-months of volumes`,
    `${formatSize(units.transferBytes)} transferred`,
    ...(cost === null ? [] : [`at most about ${cost.amount} ${cost.currency}`]),
  ].join(', ')

const describePlan = (plan: MovePlan): string[] =>
  fields({
    move: `${plan.volume} from ${plan.from} to ${plan.to} (${plan.targetPool})`,
    how: howOf(plan),
    bytes: `${formatSize(plan.forecast.bytes)} of ${formatSize(plan.freeBytesOnTarget)} free there`,
    time: `about ${formatDuration(plan.forecast.ms)}`,
    downtime: `about ${formatDuration(plan.forecast.downtimeMs)}`,
    ...(plan.cloud === null ? {} : { EC2: billOf(plan.cloud) }),
    containers: plan.containers.map(({ name, state }) => `${name} (${state})`).join(', ') || 'none',
  })

const describeRound = ({ bytes, ms, reconnects = 0, resentBytes = 0 }: MoveView['rounds'][number]): string => {
  const again = reconnects === 0 ? '' : `, over ${reconnects + 1} links, ${formatSize(resentBytes)} sent again`
  return `${formatSize(bytes)} in ${formatDuration(ms)}${again}`
}

const describeMove = (move: MoveView): string[] => {
  const { progress, forecast, error } = move
  return fields({
    move: move.id,
    volume: move.volumeName,
    ...(move.groupId === undefined ? {} : { group: move.groupId }),
    from: `${move.from} (${move.sourcePool})`,
    to: `${move.to} (${move.targetPool})`,
    state: isEnded(move)
      ? move.state
      : `${move.state}, ${waiting(move) ?? move.phase}${move.cancelRequested ? ', being cancelled' : ''}`,
    rounds: move.rounds.map(describeRound).join('; ') || 'none yet',
    ...(progress === null
      ? {}
      : { now: `round ${progress.round}: ${formatSize(progress.bytes)} of ${formatSize(progress.totalBytes)}` }),
    ...(move.waitsFor === null ? {} : { waiting: move.waitsFor }),
    ...(forecast === null || isEnded(move) ? {} : { downtime: `about ${formatDuration(forecast.downtimeMs)}` }),
    ...(move.downtimeMs === null ? {} : { downtime: describeDowntime(move) }),
    ...(move.phaseTimes.length === 0
      ? {}
      : { phases: move.phaseTimes.map(({ phase, ms }) => `${phase} ${formatDuration(ms)}`).join(', ') }),
    ...(move.returnOf === null ? {} : { 'returns move': move.returnOf }),
    ...(move.returnedBy === null ? {} : { 'returned by': move.returnedBy }),
    ...(move.warnings.length === 0 ? {} : { warnings: move.warnings.join('; ') }),
    ...(move.verification == null ? {} : { content: receipt(move.verification) }),
    ...(error === null ? {} : { error: `${error.code}: ${error.message}` }),
    ...(move.state === 'done' ? { summary: summary(move) } : {}),
  })
}
