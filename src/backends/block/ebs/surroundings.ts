import { type InstanceIdentity, instanceIdentity } from '../../../lib/instance-metadata.ts'
import type { Writers } from '../device.ts'
import type { CallBudget } from './budget.ts'
import { connectEbs, type Ebs } from './direct/client.ts'
import { connectEc2, type Ec2 } from './ec2-client.ts'
import { type AttachedDisks, KernelDisks } from './kernel-disks.ts'

/** What an EBS pool has to be told. On an instance that is `onInstance`; tests bring others. */
export interface Surroundings {
  /** A directory on this host for the notes. */
  readonly home: string
  /** Whose volumes are ours. Asked each time, as a host may join another cluster while it has none. */
  readonly cluster: () => string
  readonly identity: () => Promise<InstanceIdentity>
  readonly connect: (region: string) => Promise<Ec2>
  /** The EBS direct API; processes that send streams find it by `endpoint`, null: AWS's own. */
  readonly direct: {
    readonly connect: (region: string) => Promise<Ebs>
    readonly endpoint: string | null
    /** Absent: a new one. */
    readonly budget?: CallBudget
  }
  readonly disks: AttachedDisks
  /** What EC2 calls a GiB. */
  readonly unitBytes: number
  /** One for all pools of a host. Null: a new one. */
  readonly budget: CallBudget | null
  readonly limits: Limits
}

/** Milliseconds. */
export interface Limits {
  /** After which describes tell what was done. */
  readonly settle: number
  readonly create: number
  readonly attach: number
  readonly detach: number
  readonly snapshot: number
  /** For a snapshot that is only to be compared with, and for each step of that: while writers run, and while they stand and wait for it. */
  readonly comparison: Readonly<Record<Writers, number>>
  /** A call of the direct API to which nothing comes is made again for so long. */
  readonly silence: number
  readonly modify: number
  /** A volume that shows a snapshot goes when nobody has asked for it for so long. */
  readonly view: number
  /** So does a volume's newest local image, which the next move would go upon; those before it go as such a volume does. */
  readonly image: number
  /** One call waits so long for the blocks of such an image to be put. */
  readonly put: number
}

const minute = 60_000

export const onInstance = (
  of: Pick<Surroundings, 'home' | 'cluster'> & { readonly budget?: CallBudget | null },
): Surroundings => ({
  ...{ budget: null, disks: new KernelDisks('/dev/disk/by-id'), unitBytes: 2 ** 30 },
  identity: () => instanceIdentity(),
  connect: (region) => connectEc2({ region, endpoint: null }),
  direct: { connect: (region) => connectEbs({ region, endpoint: null }), endpoint: null },
  limits: {
    ...{ settle: minute, create: 10 * minute, attach: 5 * minute, detach: 5 * minute },
    ...{ snapshot: 24 * 60 * minute, comparison: { running: 5 * minute, standing: minute }, silence: minute / 3 },
    ...{ modify: 30 * minute, view: 10 * minute, image: 24 * 60 * minute, put: minute / 3 },
  },
  ...of,
})
