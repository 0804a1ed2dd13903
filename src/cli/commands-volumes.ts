import type { Command } from 'commander'
import type { VolumeDetail, VolumeView } from '../control/control.ts'
import { checkVolumeName } from '../domain/names.ts'
import { formatSize, parseSize } from '../domain/units.ts'
import { holderText } from '../volumes/holders.ts'
import { collectLabel, collectOpt, given } from './arguments.ts'
import { segment, show, showTable } from './context.ts'
import type { Run } from './program.ts'
import { fields } from './table.ts'

interface CreateOptions {
  readonly size?: number
  readonly pool?: string
  readonly host?: string
  readonly label?: Readonly<Record<string, string>>
  readonly opt?: Readonly<Record<string, string>>
}

const size = (bytes: number | null): string => (bytes === null ? 'unlimited' : formatSize(bytes))
const used = (bytes: number | null): string => (bytes === null ? '' : formatSize(bytes))
const pathOf = (name: string): string => `/v1/volumes/${segment(name)}`

/** create, ls, inspect, rm, resize. */
export const addVolumeCommands = (program: Command, run: Run): void => {
  program
    .command('create')
    .description('make a volume')
    .argument('<name>', '', checkVolumeName)
    .option('--size <size>', 'such as 10G; without it, the pool is the limit', parseSize)
    .option('--pool <pool>', 'as vol pools names it')
    .option('--host <host>', 'where it lives; default: this host')
    .option('--label <name=value>', 'may be given again', collectLabel)
    .option(
      '--opt <name=value>',
      'on ZFS: profile, compression, recordsize or encryption; may be given again',
      collectOpt,
    )
    .action(
      run(async (context, name: string, options: CreateOptions) => {
        const { size: sizeBytes, pool, host, label: labels, opt } = options
        const body = { name, ...given({ sizeBytes, pool, host, labels, options: opt }) }
        const volume = await context.client.call<VolumeView>('POST', '/v1/volumes', body)
        show(context, volume, () => `created ${volume.name} on ${volume.owner}`)
      }),
    )

  program
    .command('ls')
    .description('list the volumes')
    .action(
      run(async (context) =>
        showTable(context, await context.client.all<VolumeView>('/v1/volumes'), {
          NAME: ({ name }) => name,
          OWNER: ({ owner }) => owner,
          SIZE: ({ sizeBytes }) => size(sizeBytes),
          USED: ({ usedBytes }) => used(usedBytes),
          STATE: ({ state, openMoveId }) => (openMoveId === null ? state : 'moving'),
          POOL: ({ pool }) => pool,
        }),
      ),
    )

  program
    .command('inspect')
    .description('tell all that exists of a volume')
    .argument('<name>', '', checkVolumeName)
    .action(
      run(async (context, name: string) => {
        const volume = await context.client.call<VolumeDetail>('GET', pathOf(name))
        show(context, volume, () => describe(volume))
      }),
    )

  program
    .command('rm')
    .description('remove a volume and its data')
    .argument('<name>', '', checkVolumeName)
    .option('--force', 'also when stopped containers refer to it', false)
    .action(
      run(async (context, name: string, options: { force: boolean }) => {
        await context.client.call('DELETE', `${pathOf(name)}${options.force ? '?force=true' : ''}`)
        show(context, { name, removed: true }, () => `removed ${name}`)
      }),
    )

  program
    .command('resize')
    .description('change the size of a volume')
    .argument('<name>', '', checkVolumeName)
    .argument('<size>', 'such as 20G', parseSize)
    .action(
      run(async (context, name: string, sizeBytes: number) => {
        const volume = await context.client.call<VolumeView>('PATCH', pathOf(name), { sizeBytes })
        show(context, volume, () => `resized ${volume.name} to ${size(volume.sizeBytes)}`)
      }),
    )
}

const describe = (volume: VolumeDetail): string[] => {
  const { labels, containers, snapshots, replicas, partials, holders, unreachable, move } = volume
  const many = (items: readonly string[]): string => items.join(', ') || 'none'
  return fields({
    name: volume.name,
    id: volume.id,
    owner: volume.owner,
    pool: volume.pool,
    epoch: String(volume.epoch),
    state: move === null ? volume.state : `moving to ${move.to}: ${move.phase} (${move.id})`,
    size: size(volume.sizeBytes),
    used: used(volume.usedBytes) || 'unknown',
    mounted: volume.mounted ? 'yes' : 'no',
    labels: many(Object.entries(labels).map(([name, value]) => `${name}=${value}`)),
    containers: many(containers.map(({ name, state }) => `${name} (${state})`)),
    snapshots: many(snapshots.map(({ host, name }) => `${name} on ${host}`)),
    replicas: many(
      replicas.map(
        ({ host, role, keepUntil }) => `${role} on ${host}${keepUntil === null ? '' : ` until ${keepUntil}`}`,
      ),
    ),
    ...(holders.length === 0
      ? {}
      : { 'held by': many(holders.map((holder) => `${holderText(holder)} on ${holder.host}`)) }),
    partials: many(partials.map(({ host, name }) => `${name} on ${host}`)),
    created: volume.createdAt,
    ...(unreachable.length === 0 ? {} : { 'not asked': `${unreachable.join(', ')} did not answer` }),
  })
}
