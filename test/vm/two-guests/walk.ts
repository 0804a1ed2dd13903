import { run, until } from '../../../lab/command.ts'
import { Writer } from './writer.ts'

/* What the first guest does once both are in one cluster: a PostgreSQL is walked from pool to pool, with a client at work. */

const mount = ['--volume', 'db:/var/lib/postgresql/data', '--volume-driver', 'drover']
const patience = { timeoutMs: 600_000 }

const say = (what: string): void => console.log(`walk, ${Math.round(performance.now() / 1000)} s: ${what}`)

const vol = async (...args: string[]): Promise<string> => (await run(['vol', ...args], patience)).stdout

interface Move {
  readonly state: string
  readonly downtimeMs: number | null
  readonly rounds: readonly { readonly bytes: number; readonly base: string | null }[]
}

const rowsAt = async (address: string): Promise<Set<number>> => {
  const psql = ['psql', '--no-psqlrc', '-h', address, '-U', 'postgres', '-Atc', 'SELECT n FROM walk']
  const { stdout } = await run(['docker', 'run', '--rm', '--network', 'host', 'postgres', ...psql], patience)
  return new Set(stdout.split('\n').filter(Boolean).map(Number))
}

await run(['docker', 'volume', 'create', '-d', 'drover', '-o', 'pool=zfs:tank/drover', '-o', 'size=1G', 'db'], patience)
await run(
  ['docker', 'run', '--detach', '--name', 'db', '--network', 'host', '--stop-timeout', '60', ...mount, 'postgres'],
  patience,
)
const writer = await Writer.start(['10.77.0.11', '10.77.0.12'])
await writer.moreAt('10.77.0.11', 20)
say('PostgreSQL takes rows on guest1, on ZFS')

const walk = async (to: string, pool: string, address: string): Promise<Move> => {
  const startedAt = performance.now()
  const move = JSON.parse(await vol('--json', 'move', 'db', '--to', to, '--pool', pool)) as Move
  const seconds = Math.round((performance.now() - startedAt) / 1000)
  if (move.state !== 'done') throw new Error(`the move to ${pool} on ${to} is ${move.state}`)
  await writer.moreAt(address, 10)
  const rounds = move.rounds.map(({ bytes, base }) => `${bytes} bytes${base === null ? '' : ' upon a base'}`)
  say(`${pool} on ${to}: ${seconds} s, downtime ${move.downtimeMs} ms, ${rounds.join(', ')}`)
  return move
}
await walk('guest2', 'zfs:tank/drover', '10.77.0.12')
const back = await walk('guest1', 'zfs:tank/drover', '10.77.0.11')
if (back.rounds.some(({ base }) => base === null)) throw new Error('the way back was a full one')
await walk('guest2', 'lvm:vg0/thin', '10.77.0.12')

const acknowledged = await writer.stop()
const rows = await until('the rows', () => rowsAt('10.77.0.12'))
const missing = acknowledged.filter((number) => !rows.has(number))
say(`${acknowledged.length} rows acknowledged, ${missing.length} missing`)
if (acknowledged.length === 0 || missing.length > 0) throw new Error(`rows are missing: ${missing.slice(0, 5)}`)
process.exit(0)
