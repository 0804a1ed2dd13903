import { once } from 'node:events'
import { mkdir, mkdtemp, rm, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { type LabHost, repository } from '../../lab/host.ts'
import type { Lab } from '../../lab/lab.ts'

interface Told {
  readonly endpoint: string
  readonly hosts: readonly {
    readonly instance: { readonly instanceId: string }
    readonly metadata: string
    readonly links: string
  }[]
}

export interface LabEc2 {
  /** Starts vold on the host as on its instance. */
  startVold(host: LabHost, ...pools: readonly string[]): Promise<void>
  /** What was asked of EC2 so far. */
  calls(): Promise<{ action: string; parameters: Record<string, string>; outcome: string }[]>
  /** What there is of volumes and snapshots. */
  left(): Promise<{ volumes: { zone: string }[]; snapshots: unknown[] }>
  /** Whether somebody else's disks take all the places of the host. */
  fill(host: LabHost, isFull: boolean): Promise<void>
  /** Whether a snapshot takes ten minutes from now on, or its usual time. */
  slow(isSlow: boolean): Promise<void>
  /** Of the next attach the answer comes late: who asked for it does not get on. */
  hold(): Promise<void>
  dispose(): Promise<void>
}

const links = '/dev/disk/by-id'

/** A strict EC2 server in the lab's first host; its hosts are instances in one zone, in two, or in two regions, with disks that are loop devices. */
export const startLabEc2 = async (lab: Lab, where: 'zone' | 'zones' | 'regions' = 'zone'): Promise<LabEc2> => {
  const { host1 } = lab
  await host1.exec(['mkdir', '-p', '/srv/ec2'])
  const linksBelow = await mkdtemp('/var/tmp/drover-ec2-links-')
  const main = join(repository, 'test/ec2/lab-main.ts')
  const server = host1.spawn(
    ['node', main, host1.address, '/srv/ec2', linksBelow, where],
    ['ignore', 'pipe', 'inherit'],
  )
  if (server.stdout === null) throw new Error('the EC2 server has no output')
  const [line] = await once(server.stdout, 'data')
  const told: Told = JSON.parse(String(line))
  // As udev has it; where the machine has no such directory, it has one for a moment. Each host gets its own in its place.
  const isMade = (await mkdir(links, { recursive: true })) !== undefined
  const of = (host: LabHost) => {
    const found = told.hosts[lab.hosts.indexOf(host)]
    if (found === undefined) throw new Error(`host ${host.name} is no instance`)
    return found
  }
  const dispose = async () => {
    await rm(linksBelow, { recursive: true, force: true })
    if (!isMade) return
    for (const path of [links, '/dev/disk']) await rmdir(path).catch(() => {})
  }
  try {
    for (const host of lab.hosts) await host.exec(['mount', '--bind', of(host).links, links])
  } catch (error) {
    await dispose()
    throw error
  }
  return {
    startVold: (host, ...pools) =>
      host.vold.start(
        [
          ...['vold', ...pools.flatMap((pool) => ['--pool', pool])],
          ...['--config', join(repository, 'lab', 'vold.toml')],
          ...['--advertise', `${host.address}:7460`],
        ],
        {
          ...{ AWS_ENDPOINT_URL_EC2: told.endpoint, AWS_ENDPOINT_URL_EBS: told.endpoint },
          AWS_EC2_METADATA_SERVICE_ENDPOINT: of(host).metadata,
        },
      ),
    calls: async () => JSON.parse(await ask(host1, `${of(host1).metadata}/calls`)),
    left: async () => JSON.parse(await ask(host1, `${of(host1).metadata}/left`)),
    fill: async (host, isFull) => void (await ask(host, `${of(host).metadata}/${isFull ? 'full' : 'free'}`)),
    slow: async (isSlow) => void (await ask(host1, `${of(host1).metadata}/${isSlow ? 'slow' : 'quick'}`)),
    hold: async () => void (await ask(host1, `${of(host1).metadata}/hold`)),
    dispose,
  }
}

const fetching = 'fetch(process.argv[1]).then((answer) => answer.text()).then(console.log)'

const ask = async (host: LabHost, url: string): Promise<string> =>
  (await host.exec(['node', '-e', fetching, url])).stdout

/** What there is of volumes and snapshots at last: removals go on in the background. */
export const awaitLeftOn = async (ec2: LabEc2, zones: readonly string[], snapshots: number): Promise<void> => {
  const seen = async () => {
    const left = await ec2.left()
    return { zones: left.volumes.map(({ zone }) => zone), snapshots: left.snapshots.length }
  }
  await expect.poll(seen, { timeout: 60_000, interval: 500 }).toEqual({ zones, snapshots })
}
