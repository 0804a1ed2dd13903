import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { run, until } from '../../lab/command.ts'
import type { LabHost } from '../../lab/host.ts'
import type { DatasetRecord } from '../../src/domain/dataset.ts'
import { isEnded } from '../../src/domain/move.ts'
import { overUnix } from '../support/unix-http.ts'
import { leftoverProcesses } from './processes.ts'
import { dataDir, type Inspected, pool, type Stage, volume } from './stage.ts'
import { numberOf } from './writer.ts'

/** What a cell finds wrong, in a sentence. */
export class Broken extends Error {}

/** `ls`; nothing when it is not there. */
const list = (path: string): string[] => {
  try {
    return readdirSync(path).toSorted()
  } catch {
    return []
  }
}

/** The move has ended, every host answers, and control and hosts say that all is over. */
const settled = async (stage: Stage, copyOn: LabHost | null, timeoutMs: number): Promise<Inspected> => {
  let last: Inspected | null = null
  try {
    return await until(
      'the end of the move',
      async () => {
        // Between the end of a move whose containers did not become healthy and the move back, no move is open.
        const newest = await stage.newestMove()
        if (newest !== null && (!isEnded(newest) || newest.returnDue)) return null
        const detail = await stage.inspect()
        last = detail ?? last
        if (detail === null || detail.move !== null || detail.unreachable.length > 0) return null
        const over =
          detail.partials.length === 0 &&
          detail.replicas.every(({ role, host }) => role === 'replica' || host === copyOn?.name)
        return over ? detail : null
      },
      { timeoutMs, intervalMs: 60 },
    )
  } catch {
    throw new Broken(`not settled within ${timeoutMs / 1000} s: ${JSON.stringify(last)}`)
  }
}

/** Asks every host for the volume as its engine would, and writes where it is given: who can? */
export const whoCanWrite = async (stage: Stage): Promise<LabHost[]> => {
  const asked = await Promise.all(
    stage.hosts.map(async (host) => {
      const call = (method: string) =>
        overUnix(host.path('/run/docker/plugins/drover.sock'), `/VolumeDriver.${method}`, {
          method: 'POST',
          body: JSON.stringify({ Name: volume, ID: 'torture' }),
        }).catch(() => null)
      const mounted = await call('Mount')
      if (mounted?.status !== 200) return null
      const path: string = JSON.parse(mounted.text).Mountpoint
      try {
        writeFileSync(host.path(join(path, 'probe')), host.name, { flush: true })
        return host
      } catch {
        return null
      } finally {
        await call('Unmount')
      }
    }),
  )
  return asked.filter((host) => host !== null)
}

export const names = (hosts: readonly LabHost[]): string => hosts.map(({ name }) => name).join(' and ') || 'nobody'

/** Every acknowledged row is there, in the order of its number and once; nothing else is. */
const checkRows = (stage: Stage, owner: LabHost): void => {
  const acknowledged = stage.acknowledged()
  const rows = stage.rows(owner)
  const there = new Set(rows)
  const lost = acknowledged.filter((row) => !there.has(row))
  if (lost.length > 0) throw new Broken(`${lost.length} acknowledged rows are missing, the first is ${lost[0]}`)
  const wrong = rows.findIndex((row, index) => numberOf(row) !== index + 1)
  if (wrong !== -1) throw new Broken(`row ${wrong + 1} of the log is "${rows[wrong]}"`)
}

/** What is there beside the volume, its writer, and on each host at most one base. */
const leftovers = async (stage: Stage, owner: LabHost, copyOn: LabHost | null): Promise<string[]> => {
  const found: string[] = []
  for (const host of stage.hosts) {
    const owns = host === owner
    const say = (what: string) => found.push(`${host.name}: ${what}`)
    const containers = await stage.containers(host)
    if (containers === null) say('the engine does not answer')
    const known = (containers ?? []).map(({ name, state }) => `${name} ${state}`).join(', ')
    // It goes with the superseded copy; dead: the power failed while the engine removed it.
    const stopped = host === copyOn && ['writer exited', 'writer dead'].includes(known)
    if (known !== (owns ? 'writer running' : '') && !stopped) say(`containers: ${known || 'none'}`)
    for (const journal of list(host.path(`${dataDir}/moves`))) say(`journal ${journal}`)
    const mounts = readFileSync(`/proc/${host.init.pid}/mounts`, 'utf8')
      .split('\n')
      .filter((line) => line.split(' ')[1]?.startsWith(`${dataDir}/mnt/`))
    if (mounts.length !== (owns ? 1 : 0)) say(`${mounts.length} mounts of the volume`)
    const { stdout } = await run(['losetup', '--list', '--noheadings', '--raw', '--output', 'NAME,BACK-INO'])
    const inode = (await host.exec(['stat', '-c', '%i', `${pool}.img`])).stdout.trim()
    const loops = stdout.split('\n').filter((line) => line.trim().split(/\s+/)[1] === inode)
    if (loops.length !== 1) say(`${loops.length} loop devices of the pool`)
    for (const process of leftoverProcesses(host)) say(process)
    if (host !== copyOn) for (const what of poolLeftovers(stage, host, owns)) say(what)
  }
  return found
}

const poolLeftovers = (stage: Stage, host: LabHost, owns: boolean): string[] => {
  const root = host.path(pool)
  const found = list(`${root}/trash`).map((name) => `trash ${name}`)
  found.push(...list(`${root}/volumes`).flatMap((id) => (id === stage.volumeId ? [] : `volume ${id}`)))
  const home = `${root}/volumes/${stage.volumeId}`
  const entries = list(home)
  if (entries.length === 0) return found
  for (const entry of entries) {
    const usual = ['volume.json', 'snapshots', ...(owns ? ['live'] : [])].includes(entry)
    const empty = entry === 'partial' && list(`${home}/partial`).length === 0
    if (!usual && !empty) found.push(`${entry} of the volume: ${list(`${home}/${entry}`).join(', ')}`)
  }
  const record: DatasetRecord = JSON.parse(readFileSync(`${home}/volume.json`, 'utf8'))
  if (record.role !== (owns ? 'owner' : 'replica')) found.push(`the record says ${record.role}`)
  if (record.moveId !== null) found.push(`the record says move ${record.moveId}`)
  const snapshots = list(`${home}/snapshots`)
  const recorded = record.snapshots.map(({ name }) => name).toSorted()
  if (snapshots.join() !== recorded.join()) found.push(`snapshots ${snapshots.join()}, recorded ${recorded.join()}`)
  // The base of the way back; an owner has one for each host that it has been exchanged with.
  if (snapshots.length > (owns ? 2 : 1)) found.push(`snapshots ${snapshots.join()}`)
  return found
}

/** What is removed in the background gets the time it needs. */
const checkLeftovers = async (
  stage: Stage,
  owner: LabHost,
  copyOn: LabHost | null,
  timeoutMs: number,
): Promise<void> => {
  let found: string[] = []
  await until(
    'the end of leftovers',
    async () => {
      found = await leftovers(stage, owner, copyOn)
      return found.length === 0 ? true : null
    },
    { timeoutMs, intervalMs: 100 },
  ).catch(() => {
    throw new Broken(`left behind: ${found.join('; ')}`)
  })
}

/** All that must hold once the faults have ended. @param copyOn a host that may keep a superseded copy */
export const checkAll = async (stage: Stage, copyOn: LabHost | null, timeoutMs: number): Promise<void> => {
  const { owner: name } = await settled(stage, copyOn, timeoutMs)
  const owner = stage.lab.host(name)
  await until('the writer', async () => (names(await stage.runsOn()) === name ? true : null), {
    timeoutMs: 30_000,
    intervalMs: 50,
  }).catch(async () => {
    throw new Broken(`${name} owns the volume, the writer runs on ${names(await stage.runsOn())}`)
  })
  await stage.goesOn(20_000).catch(() => {
    throw new Broken('the writer runs and no row is acknowledged')
  })
  // One that is just being put back in order may refuse for a moment; two are never right.
  const writable = await until(
    'a host that can write',
    async () => {
      const found = await whoCanWrite(stage)
      return found.length > 0 ? found : null
    },
    { timeoutMs: 10_000, intervalMs: 100 },
  ).catch(() => [])
  if (names(writable) !== name) throw new Broken(`${name} owns the volume, and ${names(writable)} can write`)
  checkRows(stage, owner)
  await checkLeftovers(stage, owner, copyOn, 25_000)
}
