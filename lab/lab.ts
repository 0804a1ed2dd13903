import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { cgroupParent, removeCgroups } from './cgroups.ts'
import { LabError, run } from './command.ts'
import { startHolder } from './holder.ts'
import { LabHost, repository } from './host.ts'
import { type ImageName, loadImage } from './images/images.ts'
import { detachLoops } from './loops.ts'
import { makeBridge, plugIn } from './network.ts'
import { isAlive, signalProcess, waitGone } from './processes.ts'
import {
  type HostRecord,
  type LabRecord,
  labDirectory,
  labNames,
  readRecord,
  recordedRefs,
  self,
  withLabLock,
  writeRecord,
} from './state.ts'

type PoolKind = 'btrfs' | 'loop'

export interface LabOptions {
  /** Letters, digits and dashes, at most 24. Labs of different names do not see each other. */
  readonly name: string
  /** How many hosts: host1, host2, ... Default 2. */
  readonly hosts?: number
  /** The /24 the hosts are on; labs may share it, as their networks are not joined. Default 10.77.0. */
  readonly subnet?: string
  /** Starts `vold` everywhere, makes the cluster on host1 and lets the others join. Default true. */
  readonly vold?: boolean
  /** Of each `vold`, beside --advertise. */
  readonly voldFlags?: readonly string[] | ((host: LabHost) => readonly string[])
  /** A sparse pool of this many bytes at /srv/pool on each host, given to `vold` as --pool. Default: vold makes its own. */
  readonly poolBytes?: number
  /** What that pool is: a btrfs, or a directory for files with a file system each, on an xfs that shares extents. Default btrfs. */
  readonly poolKind?: PoolKind | ((host: LabHost) => PoolKind)
  /** Another pool beside it, as large, of this kind, at /srv/second. Default: none. */
  readonly secondKind?: PoolKind
  /** Loaded into each engine. Default busybox. */
  readonly images?: readonly ImageName[]
  /** The lab belongs to this process: `sweep` takes it down once that has ended. Default true. */
  readonly owned?: boolean
}

export class Lab {
  readonly name: string
  readonly hosts: readonly LabHost[]

  private constructor(record: LabRecord) {
    this.name = record.name
    this.hosts = record.hosts.map((host) => new LabHost(record.name, host))
  }

  /** A lab that is up, or what is left of it. */
  static find(name: string): Lab | null {
    const record = readRecord(name)
    return record === null ? null : new Lab(record)
  }

  /** Brings a lab up from nothing: whatever is left of one of that name is taken down first. */
  static async up(options: LabOptions): Promise<Lab> {
    const { name, hosts: count = 2, subnet = '10.77.0' } = options
    if (process.getuid?.() !== 0) throw new LabError('the lab needs root: it makes namespaces and mounts')
    if (!/^[a-z0-9][a-z0-9-]{0,23}$/.test(name)) throw new LabError(`"${name}" cannot be the name of a lab`)
    if (!(count >= 1 && count <= 100)) throw new LabError(`a lab cannot have ${count} hosts`)
    if (!/^\d+\.\d+\.\d+$/.test(subnet)) throw new LabError(`"${subnet}" is not the first three numbers of a /24`)
    await Lab.sweep()
    return withLabLock(name, async () => {
      const owner = readRecord(name)?.owner ?? null
      if (owner !== null && owner.pid !== process.pid && isAlive(owner)) {
        throw new LabError(`lab ${name} belongs to process ${owner.pid}, which is still running`)
      }
      await clear(name)
      const hosts: HostRecord[] = Array.from({ length: count }, (_, index) => ({
        name: `host${index + 1}`,
        address: `${subnet}.${index + 11}`,
      }))
      const record: LabRecord = { name, owner: options.owned === false ? null : self(), prefixLength: 24, hosts }
      writeRecord(record)
      const lab = new Lab(record)
      try {
        await lab.bringUp(record, options)
      } catch (error) {
        if (process.env.DROVER_LAB_KEEP === undefined) await clear(name)
        throw error
      }
      return lab
    })
  }

  /** Takes down every lab whose owner has ended without doing so. */
  static async sweep(): Promise<void> {
    for (const name of labNames()) {
      const owner = readRecord(name)?.owner ?? null
      if (owner === null || isAlive(owner)) continue
      await withLabLock(name, async () => {
        const again = readRecord(name)?.owner ?? null
        if (again !== null && !isAlive(again)) await clear(name)
      })
    }
  }

  /** Leaves no process, namespace, mount, loop device, cgroup or file. Nothing happens when there is no such lab. */
  static async down(name: string): Promise<void> {
    await withLabLock(name, () => clear(name))
  }

  down(): Promise<void> {
    return Lab.down(this.name)
  }

  /** @throws {LabError} when the lab has no such host */
  host(name: string): LabHost {
    const host = this.hosts.find((candidate) => candidate.name === name)
    if (host !== undefined) return host
    throw new LabError(`lab ${this.name} has no host ${name}; it has ${this.hosts.map((each) => each.name).join(', ')}`)
  }

  get host1(): LabHost {
    return this.host('host1')
  }

  get host2(): LabHost {
    return this.host('host2')
  }

  cut(host: LabHost): Promise<void> {
    return host.cut()
  }

  heal(host: LabHost): Promise<void> {
    return host.heal()
  }

  limit(host: LabHost, mbit: number | null): Promise<void> {
    return host.limit(mbit)
  }

  /** Loads an image into the engines named, or all. Its id is the same everywhere. */
  async load(image: ImageName, hosts: readonly LabHost[] = this.hosts): Promise<void> {
    await Promise.all(hosts.map((host) => loadImage(host, image)))
  }

  /** `vol init` on the first host; every other runs the line that it, and then `vol token`, prints. */
  async makeCluster(): Promise<void> {
    const [first, ...others] = this.hosts
    if (first === undefined) return
    let printed = await first.vol('init')
    for (const [index, host] of others.entries()) {
      if (index > 0) printed = await first.vol('token')
      const join = /\bvol (join \S+ --token \S+)/.exec(printed)?.[1]
      if (join === undefined) throw new LabError(`vol init printed no "vol join ADDR:PORT --token TOKEN": ${printed}`)
      await host.vol(...join.split(' '))
    }
  }

  private async bringUp(record: LabRecord, options: LabOptions): Promise<void> {
    const directory = labDirectory(record.name)
    const log = join(directory, 'lab.log')
    const names = ['127.0.0.1 localhost', ...record.hosts.map((host) => `${host.address} ${host.name}`), ''].join('\n')
    const switchRef = await startHolder(['--net', '--pid'], ['switch'], join(directory, 'switch.json'), log)
    await makeBridge(switchRef)
    await Promise.all(
      this.hosts.map(async (host) => {
        mkdirSync(join(host.directory, 'etc-docker'), { recursive: true })
        writeFileSync(join(host.directory, 'hosts'), names)
        writeFileSync(join(host.directory, 'etc-docker', 'daemon.json'), engineConfiguration(record.name, host.name))
        const init = await startHolder(
          ['--mount', '--uts', '--ipc', '--net', '--pid', '--propagation', 'private'],
          ['host', host.name, host.directory, repository],
          join(host.directory, 'init.json'),
          log,
        )
        await plugIn(switchRef, init, host.name, host.address, record.prefixLength)
        await host.startEngine()
        for (const image of options.images ?? ['busybox']) await loadImage(host, image)
        const { poolBytes, secondKind } = options
        if (poolBytes !== undefined) await makePool(host, '/srv/pool', poolBytes, kindOf(host, options))
        if (poolBytes !== undefined && secondKind !== undefined) {
          await makePool(host, '/srv/second', poolBytes, secondKind)
        }
        if (options.vold !== false) await host.startVold(voldFlags(host, options))
      }),
    )
    if (options.vold !== false) await this.makeCluster()
  }
}

const voldFlags = (host: LabHost, options: LabOptions): readonly string[] => [
  ...(options.poolBytes === undefined ? [] : ['--pool', `${kindOf(host, options)}:/srv/pool`]),
  ...(options.secondKind === undefined ? [] : ['--pool', `${options.secondKind}:/srv/second`]),
  ...(typeof options.voldFlags === 'function' ? options.voldFlags(host) : (options.voldFlags ?? [])),
]

const kindOf = (host: LabHost, { poolKind = 'btrfs' }: LabOptions): PoolKind =>
  typeof poolKind === 'function' ? poolKind(host) : poolKind

const engineConfiguration = (lab: string, host: string): string =>
  JSON.stringify({ 'exec-opts': ['native.cgroupdriver=cgroupfs'], 'cgroup-parent': cgroupParent(lab, host) })

const makePool = async (host: LabHost, path: string, bytes: number, kind: PoolKind): Promise<void> => {
  const image = `${path}.img`
  await host.exec(['mkdir', '-p', path])
  await host.exec(['truncate', '--size', String(bytes), image])
  await host.exec(kind === 'btrfs' ? ['mkfs.btrfs', '--quiet', image] : ['mkfs.xfs', '-q', image])
  await host.exec(['mount', '-o', 'loop,nodiscard', image, path])
}

const clear = async (name: string): Promise<void> => {
  const directory = labDirectory(name)
  if (!existsSync(directory)) return
  const refs = recordedRefs(name)
  for (const ref of refs) signalProcess(ref, 'SIGKILL')
  for (const ref of refs) await waitGone(ref, `lab ${name}`)
  await detachLoops(directory)
  const hosts = join(directory, 'hosts')
  const recorded = readRecord(name)?.hosts.map((host) => host.name) ?? []
  const found = existsSync(hosts) ? readdirSync(hosts) : []
  for (const host of new Set([...recorded, ...found])) await removeCgroups(name, host)
  // Whatever somebody mounted there from outside stays whole, and says so. The record goes last: without it nobody would sweep.
  await run(['rm', '-rf', '--one-file-system', hosts])
  await run(['rm', '-rf', '--one-file-system', directory])
}
