import { readFileSync } from 'node:fs'
import { until } from '../../lab/command.ts'
import type { LabHost } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import type { MoveRecord } from '../../src/domain/move.ts'
import { overUnix } from '../support/unix-http.ts'
import { type Row, rowsOf, writerLoop } from './writer.ts'

export const volume = 'db'
export const pool = '/srv/pool'
export const dataDir = '/var/lib/drover'
const acks = '/srv/acks/rows'
export const poolBytes = 2 ** 30
const ballastMib = 8

/** What the API's inspect says, as far as it is looked at. */
export interface Inspected {
  readonly id: string
  readonly owner: string
  readonly epoch: number
  readonly partials: readonly unknown[]
  readonly replicas: readonly { readonly role: string; readonly host: string }[]
  readonly move: { readonly id: string; readonly phase: string } | null
  readonly unreachable: readonly string[]
}

interface Container {
  readonly name: string
  readonly state: string
}

/** Three hosts and one volume with a writer on it: host1 has the control role, the volume walks between the other two. */
export class Stage {
  readonly lab: Lab
  readonly volumeId: string

  private constructor(lab: Lab, volumeId: string) {
    this.lab = lab
    this.volumeId = volumeId
  }

  static async up(name: string, subnet: string): Promise<Stage> {
    const lab = await Lab.up({ name, hosts: 3, subnet, poolBytes, images: ['busybox'] })
    for (const host of lab.hosts) await host.exec(['mkdir', '-p', '/srv/acks'])
    const mounts = ['--volume', `${volume}:/data`, '--volume', '/srv/acks:/acks', '--volume-driver', 'drover']
    const flags = ['--detach', '--name', 'writer', '--restart', 'always', ...mounts]
    await lab.host2.docker('run', ...flags, 'busybox', 'sh', '-c', writerLoop)
    const { id } = JSON.parse(await lab.host1.vol('--json', 'inspect', volume))
    return new Stage(lab, id)
  }

  down(): Promise<void> {
    return this.lab.down()
  }

  get control(): LabHost {
    return this.lab.host1
  }

  get hosts(): readonly LabHost[] {
    return this.lab.hosts
  }

  /** What `vold` of that host answers; null when it does not, or refuses. */
  async get<T>(host: LabHost, path: string): Promise<T | null> {
    const headers = { accept: 'application/json' }
    const answer = await overUnix(host.path('/run/drover/vold.sock'), path, { headers }).catch(() => null)
    return answer?.status === 200 ? JSON.parse(answer.text) : null
  }

  inspect(): Promise<Inspected | null> {
    return this.get<Inspected>(this.control, `/v1/volumes/${volume}`)
  }

  async newestMove(): Promise<MoveRecord | null> {
    const page = await this.get<{ items: MoveRecord[] }>(this.control, '/v1/moves?limit=1')
    return page?.items[0] ?? null
  }

  /** Null: whoever was asked died over it. */
  async startMove(body: object): Promise<{ status: number; text: string } | null> {
    return overUnix(this.control.path('/run/drover/vold.sock'), `/v1/volumes/${volume}/moves`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    }).catch(() => null)
  }

  /** Everything the engine has; null when it does not answer. */
  async containers(host: LabHost): Promise<Container[] | null> {
    const answer = await overUnix(host.path('/run/docker.sock'), '/containers/json?all=1').catch(() => null)
    if (answer?.status !== 200) return null
    const found: { Names: string[]; State: string }[] = JSON.parse(answer.text)
    return found.map(({ Names, State }) => ({ name: (Names[0] ?? '').slice(1), state: State }))
  }

  /** Hosts whose engine says that the writer runs. */
  async runsOn(): Promise<LabHost[]> {
    const found = await Promise.all(
      this.hosts.map(async (host) => {
        const containers = (await this.containers(host)) ?? []
        return containers.some(({ name, state }) => name === 'writer' && state === 'running') ? host : null
      }),
    )
    return found.filter((host) => host !== null)
  }

  /** Every row that a writer was told to be on disk, noted outside of the volume. */
  acknowledged(): Row[] {
    return this.hosts.flatMap((host) => rowsOf(read(host.path(acks))))
  }

  /** What the volume holds on this host, through the host's own mount of it. */
  rows(host: LabHost): Row[] {
    return rowsOf(read(host.path(`${dataDir}/mnt/${this.volumeId}/data/log`)))
  }

  /** What people do about a superseded copy: they remove it, and its containers. */
  async removeCopy(host: LabHost): Promise<void> {
    const home = `${pool}/volumes/${this.volumeId}`
    const remove = `docker ps -aq | xargs -r docker rm -f; for s in ${home}/live/data ${home}/snapshots/*/snap; do
btrfs property set -f -t subvol "$s" ro false; btrfs subvolume delete "$s"; done; rm -rf ${home}`
    await host.exec(['sh', '-c', remove])
  }

  /** Something to ship, so that the rounds before quiesce last. */
  async ballast(owner: LabHost): Promise<void> {
    const dd = `dd if=/dev/urandom of=/data/ballast bs=1M count=${ballastMib} conv=notrunc 2>/dev/null`
    await owner.docker('exec', 'writer', 'sh', '-c', dd)
  }

  /** Waits until more rows are acknowledged than there are now. */
  async goesOn(timeoutMs: number): Promise<void> {
    const before = this.acknowledged().length
    await until('the writer to go on', () => (this.acknowledged().length > before ? true : null), {
      timeoutMs,
      intervalMs: 30,
    })
  }
}

const read = (path: string): string => {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return '' // not there, or not mounted
  }
}
