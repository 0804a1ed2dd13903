/** What a profile means to EC2, for a volume of a size. Figures of AWS's documentation of EBS volume types, November 2026. */
export interface Profile {
  readonly name: string
  readonly smallestGib: number
  readonly largestGib: number
  performance(gib: number): VolumePerformance
}

export interface VolumePerformance {
  readonly type: 'gp3' | 'io2'
  readonly iops: number
  /** MiB/s; null: not chosen with this type. */
  readonly throughput: number | null
}

const gp3 = { iops: 3000, throughput: 125, iopsPerGib: 500 }
const fast = { iops: 12_000, throughput: 500 }
const io2 = { iops: 3000, iopsPerGib: 500 }

export const profiles: readonly Profile[] = [
  {
    name: 'standard',
    ...{ smallestGib: 1, largestGib: 16_384 },
    performance: () => ({ type: 'gp3', iops: gp3.iops, throughput: gp3.throughput }),
  },
  {
    name: 'fast',
    ...{ smallestGib: 1, largestGib: 16_384 },
    performance: (gib) => {
      const iops = Math.min(fast.iops, Math.max(gp3.iops, gp3.iopsPerGib * gib))
      return { type: 'gp3', iops, throughput: Math.min(fast.throughput, Math.floor(iops / 4)) }
    },
  },
  {
    name: 'durable',
    ...{ smallestGib: 4, largestGib: 16_384 },
    performance: (gib) => ({ type: 'io2', iops: Math.min(io2.iops, io2.iopsPerGib * gib), throughput: null }),
  },
]
