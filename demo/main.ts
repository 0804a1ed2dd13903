import { LabError } from '../lab/command.ts'
import { Lab } from '../lab/lab.ts'
import { formatSize } from '../src/domain/units.ts'
import { fingerprint, startDatabase } from './database.ts'
import { Stage } from './stage.ts'
import { checkRows, walk } from './walk.ts'
import { Writer } from './writer.ts'

const labName = 'demo'
const stage = new Stage()
let writer: Writer | null = null

const play = async (): Promise<void> => {
  stage.part('Two Docker hosts, each with a vold, in one cluster')
  const lab = await Lab.up({ name: labName, images: ['busybox'] })
  const { host1, host2 } = lab
  // host2 lacks the image: the move brings it along.
  await lab.load('postgres', [host1])
  for (const line of (await host1.vol('hosts')).split('\n')) stage.tell(line)

  stage.part('PostgreSQL on host1, its data on a Drover volume')
  await startDatabase(stage, host1)
  const accounts = await fingerprint(host1)
  stage.tell(`pgbench_accounts: ${accounts}`)
  writer = new Writer(host1, [host1, host2])
  await writer.awaitNotes(host1, 300)
  stage.tell('a client commits numbered rows, one after the other, and notes every acknowledgement')

  stage.part('The walk to host2')
  const there = await walk(stage, host1, host2, writer)
  await checkRows(stage, host2, writer.notes())

  stage.part('host1 may not write it any more')
  const mount = ['docker', 'run', '--rm', '-v', 'db:/data', '--volume-driver', 'drover', 'busybox', 'touch', '/data/x']
  stage.command(host1.name, mount)
  const refused = await host1.tryExec(mount)
  for (const line of refused.stderr.trim().split('\n')) stage.tell(line)
  stage.claim(refused.exitCode !== 0, `host1 was refused (exit status ${refused.exitCode})`)

  stage.part('The way back, which ships only the difference')
  const back = await walk(stage, host2, host1, writer)
  stage.claim(
    back.rounds.every(({ base }) => base !== null) && back.totalBytes < there.totalBytes / 2,
    `the way back shipped ${formatSize(back.totalBytes)}, the way there ${formatSize(there.totalBytes)}`,
  )

  stage.part('Nothing is missing')
  await checkRows(stage, host1, await writer.stop())
  const now = await fingerprint(host1)
  stage.claim(now === accounts, `pgbench_accounts after both walks: ${now}`)
}

const interrupted = new Promise<never>((_, reject) => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => reject(new LabError(`ended by ${signal}`)))
  }
})

let status = 1
try {
  await Promise.race([play(), interrupted])
  status = stage.end()
} catch (error) {
  stage.fall()
  console.error(`\ndemo: ${error instanceof LabError ? error.message : error instanceof Error ? error.stack : error}`)
} finally {
  ;(writer as Writer | null)?.dispose()
  await Lab.down(labName)
}
process.exit(status)
