import { connectEc2, type Ec2 } from '../../src/backends/block/ebs/ec2-client.ts'
import { type InstanceIdentity, instanceIdentity } from '../../src/lib/instance-metadata.ts'
import { capped } from './capped.ts'

/** What the suite has at once, at the most; see docs/ebs.md. */
export const leastGib = 60

export const usage = `give DROVER_AWS_ACCOUNT (the 12 digits of a test account in which this EC2 instance is) and DROVER_AWS_MAX_GIB (at most so many GiB of volumes at once, ${leastGib} or more), as root: it makes volumes and snapshots there that cost money; docs/ebs.md has the rest. Nothing was called`

export interface Given {
  readonly account: string
  readonly mostGib: number
}

/** Null: not what it takes. */
export const given = (environment: NodeJS.ProcessEnv, uid: number | undefined): Given | null => {
  const { DROVER_AWS_ACCOUNT: account = '', DROVER_AWS_MAX_GIB: most = '' } = environment
  const isFit = /^\d{12}$/.test(account) && /^\d{2,5}$/.test(most) && Number(most) >= leastGib && uid === 0
  return isFit ? { account, mostGib: Number(most) } : null
}

export interface Account {
  readonly ec2: Ec2
  readonly identity: InstanceIdentity
  /** Of what is made on this instance, run after run: so what one left behind the next finds. */
  readonly cluster: string
}

/** @throws when this is no instance, or one of another account: before anything but its own metadata was asked */
export const account = async ({ account: named, mostGib }: Given): Promise<Account> => {
  const identity = await instanceIdentity()
  if (identity.account !== named) {
    throw new Error(`this instance is in account ${identity.account}, not in ${named}; nothing was called`)
  }
  const ec2 = await connectEc2({ region: identity.region, endpoint: null })
  return { ec2: capped(ec2, mostGib), identity, cluster: clusterOf(identity) }
}

/** 26 characters, as clusters have. */
export const clusterOf = ({ instanceId }: InstanceIdentity): string => `drovertst${instanceId.slice(2)}`.padEnd(26, '0')
