import { until } from '../lab/command.ts'
import type { LabHost } from '../lab/host.ts'

const container = 'db'
export const volume = 'db'
const prefix = 'log_line_prefix=%m [%p] '

/** @param logs a directory that both hosts have: the server's log outlives its container */
const runServer = async (host: LabHost, logs: string, ...settings: string[]): Promise<void> => {
  const options = [
    ...['logging_collector=on', 'log_directory=/pglog', 'log_filename=server.log', 'log_timezone=UTC', prefix],
    ...settings,
  ]
  await host.docker(
    ...['run', '--detach', '--name', container, '--publish', '5432:5432', '--stop-timeout', '60'],
    ...['-v', `${volume}:/var/lib/postgresql/data`, '-v', `${logs}:/pglog`, '--volume-driver', 'drover'],
    ...['postgres', 'postgres', ...options.flatMap((option) => ['-c', option])],
  )
  await until(
    'PostgreSQL to answer',
    async () => ((await host.tryDocker('exec', container, 'pg_isready', '--quiet')).exitCode === 0 ? true : null),
    { timeoutMs: 60_000, intervalMs: 100 },
  )
}

export const sql = async (host: LabHost, statement: string): Promise<string> => {
  const psql = ['psql', '--no-psqlrc', '--tuples-only', '--no-align', '--command', statement, 'postgres']
  return (await host.exec(['docker', 'exec', container, ...psql], { timeoutMs: 600_000 })).stdout.trim()
}

/** Leaves PostgreSQL running, with its defaults but for where it logs, on about `gib` GiB of pgbench's tables. @returns bytes in fact */
export const growDatabase = async (host: LabHost, logs: string, gib: number): Promise<number> => {
  // Loaded without a write-ahead log, which would else be most of the data.
  await runServer(host, logs, 'wal_level=minimal', 'max_wal_senders=0')
  const accounts = Math.round(gib * accountsPerGib)
  const have = await sql(host, "SELECT to_regclass('pgbench_accounts') IS NOT NULL")
  if (have !== 't') {
    const scale = String(Math.max(1, Math.round(accounts / 100_000)))
    const init = ['pgbench', '--initialize', '--quiet', '--scale', scale, 'postgres']
    await host.exec(['docker', 'exec', container, ...init], { timeoutMs: 600_000 })
    await sql(host, 'CREATE TABLE walk (n bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp())')
  }
  for (let copy = 1; (await databaseBytes(host)) < gib * 2 ** 30 * nearEnough; copy += 1) {
    const name = `copy_${Date.now()}_${copy}`
    await sql(host, `CREATE TABLE ${name} AS TABLE pgbench_accounts`)
  }
  await sql(host, 'CHECKPOINT')
  await removeServer(host)
  await runServer(host, logs)
  return databaseBytes(host)
}
const accountsPerGib = 6_700_000
/** A copy of the accounts comes without their index: sizes are what they are, and are told as they are. */
const nearEnough = 0.85

/** A clean stop; the volume stays. */
export const removeServer = async (host: LabHost): Promise<void> => {
  await host.docker('stop', container)
  await host.docker('rm', container)
}

export const databaseBytes = async (host: LabHost): Promise<number> =>
  Number(await sql(host, "SELECT pg_database_size('postgres')"))
