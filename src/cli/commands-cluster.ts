import type { Command } from 'commander'
import type { TokenLine, VersionInfo } from '../api/handlers.ts'
import type { HostView, PoolView } from '../control/control.ts'
import { formatSize, parseDuration } from '../domain/units.ts'
import { type Context, segment, show, showTable } from './context.ts'
import type { Run } from './program.ts'
import { ownVersion } from './version.ts'

/** init, join, token, hosts, host rm, pools, version. */
export const addClusterCommands = (program: Command, run: Run): void => {
  program
    .command('init')
    .description('make the cluster; prints the line that the next host runs')
    .action(run(async (context) => line(context, await context.client.call('POST', '/v1/cluster/init', {}))))

  program
    .command('join')
    .description('join this host to a cluster')
    .argument('<address>', 'ADDR:PORT of a host of the cluster')
    .requiredOption('--token <token>', 'what vol init or vol token printed')
    .option('--adopt', 'bring the volumes that this host holds', false)
    .action(
      run(async (context, address: string, options: { token: string; adopt: boolean }) => {
        const joined = await context.client.call<{ hostName: string }>('POST', '/v1/cluster/join', {
          address,
          ...options,
        })
        show(context, joined, () => `${joined.hostName} has joined the cluster at ${address}`)
      }),
    )

  program
    .command('token')
    .description('print the line that one more host runs to join')
    .option('--ttl <time>', 'how long it can be used', parseDuration, 86_400_000)
    .action(
      run(async (context, options: { ttl: number }) =>
        line(context, await context.client.call('POST', '/v1/tokens', { ttlMs: options.ttl })),
      ),
    )

  program
    .command('hosts')
    .description('list the hosts')
    .action(
      run(async (context) =>
        showTable(context, await context.client.all<HostView>('/v1/hosts'), {
          NAME: ({ name }) => name,
          ADDRESS: ({ address }) => address,
          ROLE: ({ control }) => (control ? 'control' : 'member'),
          STATE: ({ reachable }) => (reachable ? 'up' : 'unreachable'),
          VERSION: ({ version }) => version ?? '',
          POOLS: ({ pools }) => pools.join(','),
        }),
      ),
    )

  program
    .command('host')
    .description('change the hosts')
    .command('rm')
    .description('take a host that holds no volume out of the cluster')
    .argument('<host>')
    .action(
      run(async (context, name: string) => {
        await context.client.call('DELETE', `/v1/hosts/${segment(name)}`)
        show(context, { name, removed: true }, () => `removed host ${name}`)
      }),
    )

  program
    .command('pools')
    .description('list the pools of all hosts')
    .action(
      run(async (context) =>
        showTable(context, await context.client.all<PoolView>('/v1/pools'), {
          HOST: ({ host }) => host,
          POOL: ({ spec }) => spec,
          SIZE: ({ totalBytes }) => formatSize(totalBytes),
          FREE: ({ freeBytes }) => formatSize(freeBytes),
          VOLUMES: ({ volumes }) => String(volumes),
        }),
      ),
    )

  program
    .command('version')
    .description('versions of vol and of the local vold')
    .action(
      run(async (context) => {
        const vold = await context.client.call<VersionInfo>('GET', '/v1/version')
        show(context, { vol: ownVersion(), vold }, () => [
          `vol ${ownVersion()}`,
          `vold ${vold.version} on ${vold.hostName}${vold.control ? ', which has the control role' : ''}`,
        ])
      }),
    )
}

const line = (context: Context, token: TokenLine): void => {
  if (context.terminal && !context.json) context.err(`Run this on the next host, until ${token.expiresAt}, once:`)
  show(context, token, () => token.command)
}
