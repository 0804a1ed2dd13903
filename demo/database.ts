import { until } from '../lab/command.ts'
import type { LabHost } from '../lab/host.ts'
import type { Stage } from './stage.ts'

export const port = 5432
/** 100,000 accounts and about 15 MB each. */
const scale = 20

/** What a person would type: nothing in it is special to the demo. */
const runArgv = [
  ...['docker', 'run', '-d', '--name', 'db', '-p', `${port}:${port}`],
  ...['-v', 'db:/var/lib/postgresql/data', '--volume-driver', 'drover'],
  ...['--health-cmd', 'pg_isready -q', '--health-interval', '1s'],
  ...['--restart', 'unless-stopped', '--stop-timeout', '60', 'postgres'],
]

/** Starts PostgreSQL on its Drover volume and fills it with pgbench's tables. */
export const startDatabase = async (stage: Stage, host: LabHost): Promise<void> => {
  stage.command(host.name, runArgv)
  await host.exec(runArgv)
  await until('PostgreSQL gets healthy', async () =>
    (await host.docker('inspect', '--format', '{{.State.Health.Status}}', 'db')) === 'healthy' ? true : null,
  )
  const fill = ['docker', 'exec', 'db', 'pgbench', '--initialize', '--quiet', '--scale', String(scale), 'postgres']
  stage.command(host.name, fill)
  await host.exec(fill)
  await sql(host, 'CREATE TABLE walk (n bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp())')
  stage.tell(`the database has ${await sql(host, "SELECT pg_size_pretty(pg_database_size('postgres'))")}`)
}

/** Rows come one a line. */
export const sql = (host: LabHost, statement: string): Promise<string> =>
  host.docker('exec', 'db', 'psql', '--no-psqlrc', '--tuples-only', '--no-align', '--command', statement, 'postgres')

/** How many accounts there are, and a checksum of all of them. */
export const fingerprint = (host: LabHost): Promise<string> =>
  sql(host, "SELECT count(*) || ' rows, checksum ' || sum(hashtextextended(a::text, 0)) FROM pgbench_accounts a")

export const committedRows = async (host: LabHost): Promise<Set<number>> =>
  new Set((await sql(host, 'SELECT n FROM walk')).split('\n').filter(Boolean).map(Number))
