import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
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

// Opens, locks, and makes sure that the file is still the one of that name: whoever held it before may have removed it.
const lockScript = `exec 9>>"$1"; flock --timeout 300 9 || exit 1
[ "$(stat -Lc %i /proc/self/fd/9)" = "$(stat -c %i "$1" 2>/dev/null)" ] || exit 75
echo locked; exec cat >/dev/null`

const takeLock = async (file: string): Promise<{ release: () => Promise<void> } | 'removed'> => {
  const child = spawn('sh', ['-c', lockScript, 'sh', file], { stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
  const outcome = await new Promise<'locked' | number | null>((resolve, reject) => {
    child.once('error', (error) => reject(new LabError(`sh could not be started: ${error.message}`)))
    child.stdout.once('data', () => resolve('locked'))
    child.once('close', resolve)
  })
  if (outcome === 75) return 'removed'
  if (outcome !== 'locked') throw new LabError(`another process has been working on ${basename(file)} for five minutes`)
  return {
    release: async () => {
      child.stdin.end()
      await ended
    },
  }
}

/**
 * Runs `work` while no other process does the same under this name. The lock is held by a child that ends with us, so that no
 * crash leaves it held; its file goes when `isOver` says that nothing of the name is left.
 */
export const withLock = async <T>(name: string, work: () => Promise<T>, isOver = () => false): Promise<T> => {
  const file = join(labRoot(), 'locks', name)
  mkdirSync(dirname(file), { recursive: true })
  let lock = await takeLock(file)
  while (lock === 'removed') lock = await takeLock(file)
  try {
    return await work()
  } finally {
    if (isOver()) rmSync(file, { force: true })
    await lock.release()
  }
}

/** As `withLock`, for one lab. */
export const withLabLock = <T>(name: string, work: () => Promise<T>): Promise<T> =>
  withLock(`lab-${name}`, work, () => !existsSync(labDirectory(name)))
