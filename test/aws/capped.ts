import type { Ec2 } from '../../src/backends/block/ebs/ec2-client.ts'

/** As EC2 refuses what exceeds an account's own limit. */
class BeyondCap extends Error {
  readonly $metadata = { httpStatusCode: 400 }

  constructor(gib: number, mostGib: number) {
    super(`${gib} GiB at once are more than the ${mostGib} that the operator allows`)
    this.name = 'VolumeLimitExceeded'
  }
}

/** The client refuses, before it calls anybody, what would make more than so many GiB of volumes at once of all that was made through it. */
export const capped = (ec2: Ec2, mostGib: number): Ec2 => {
  const sizes = new Map<string, number>()
  let pending = 0
  const inUse = () => [...sizes.values()].reduce((sum, size) => sum + size, pending)
  ec2.middlewareStack.add(
    (next, { commandName }) =>
      async (args) => {
        const size = Number(fieldOf(args.input, 'Size') ?? 0)
        const volumeId = String(fieldOf(args.input, 'VolumeId') ?? '')
        if (commandName !== 'CreateVolumeCommand' && commandName !== 'ModifyVolumeCommand') {
          const answer = await next(args)
          if (commandName === 'DeleteVolumeCommand') sizes.delete(volumeId)
          return answer
        }
        // Made of a snapshot without a size it has the snapshot's; what makes such ones here has one of a GiB.
        const more = commandName === 'CreateVolumeCommand' ? Math.max(size, 1) : size - (sizes.get(volumeId) ?? 0)
        if (inUse() + more > mostGib) throw new BeyondCap(inUse() + more, mostGib)
        pending += more
        try {
          const answer = await next(args)
          if (commandName === 'CreateVolumeCommand')
            sizes.set(String(fieldOf(answer.output, 'VolumeId')), Math.max(size, 1))
          else sizes.set(volumeId, size)
          return answer
        } finally {
          pending -= more
        }
      },
    { step: 'initialize', name: 'cap' },
  )
  return ec2
}

const fieldOf = (from: object, name: string): unknown => Reflect.get(from, name)
