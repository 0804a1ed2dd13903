import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { LabError } from './command.ts'
import { type ProcessRef, processRef } from './processes.ts'

/** Where labs live; outside the repo, since engines and pools write there. `DROVER_LAB_DIR` puts it elsewhere. */
export const labRoot = (): string => process.env.DROVER_LAB_DIR ?? '/var/lib/drover-lab'
export const labDirectory = (name: string): string => join(labRoot(), 'labs', name)
export const cacheDirectory = (): string => join(labRoot(), 'cache')

export interface HostRecord {
  readonly name: string
  readonly address: string
}

/** What a lab is made of, written before any of it exists. */
export interface LabRecord {
  readonly name: string
  /** The process that answers for the lab and takes it down; null: it stays until `down`. */
  readonly owner: ProcessRef | null
  readonly prefixLength: number
  readonly hosts: readonly HostRecord[]
}

export const writeWhole = (path: string, text: string): void => {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(`${path}.tmp`, text)
  renameSync(`${path}.tmp`, path)
}

export const readJson = <T>(path: string): T | null => {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as T
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw new LabError(`${path} cannot be read`, error)
  }
}

export const writeRef = (path: string, ref: ProcessRef): void => writeWhole(path, JSON.stringify(ref))
export const readRef = (path: string): ProcessRef | null => readJson<ProcessRef>(path)

export const writeRecord = (record: LabRecord): void =>
  writeWhole(join(labDirectory(record.name), 'lab.json'), JSON.stringify(record, null, 2))
export const readRecord = (name: string): LabRecord | null => readJson<LabRecord>(join(labDirectory(name), 'lab.json'))

export const labNames = (): string[] => {
  const directory = join(labRoot(), 'labs')
  return existsSync(directory) ? readdirSync(directory).sort() : []
}

/** Every process on record below a lab's directory, whatever became of the record itself. */
export const recordedRefs = (name: string): ProcessRef[] => {
  const directory = labDirectory(name)
  const hosts = join(directory, 'hosts')
  const files = [join(directory, 'switch.json')]
  if (existsSync(hosts)) files.push(...readdirSync(hosts).map((host) => join(hosts, host, 'init.json')))
  return files.map(readRef).filter((ref) => ref !== null)
}

export const self = (): ProcessRef => {
  const ref = processRef(process.pid)
  if (ref === null) throw new LabError('/proc does not show this process')
  return ref
}

/**
 * Runs `work` while no other process does the same under this name. The lock is held by a child that ends with us, so that no
 * crash leaves it behind.
 */
export const withLock = async <T>(name: string, work: () => Promise<T>): Promise<T> => {
  const file = join(labRoot(), 'locks', name)
  mkdirSync(dirname(file), { recursive: true })
  const child = spawn('flock', ['--timeout', '300', file, 'sh', '-c', 'echo locked; exec cat >/dev/null'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const locked = await new Promise<boolean>((resolve, reject) => {
    child.once('error', (error) => reject(new LabError(`flock could not be started: ${error.message}`)))
    child.stdout.once('data', () => resolve(true))
    child.once('close', () => resolve(false))
  })
  if (!locked) throw new LabError(`another process has been working on ${basename(file)} for five minutes`)
  try {
    return await work()
  } finally {
    child.stdin.end()
    await ended
  }
}
