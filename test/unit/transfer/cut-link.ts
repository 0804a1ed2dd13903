import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** A TCP link that a test can cut: what is sent to `address` comes out at the other end, as long as it lets it. */
export interface CutLink {
  readonly address: string
  /** Links made so far. */
  readonly count: () => number
  /** Bytes from the one who called, over all links. */
  readonly carried: () => number
  /** Cut the next link when so many bytes have gone over it, one way or the other. Several wait their turn. */
  cutAt(direction: 'forth' | 'back', bytes: number): void
  /** Both ends hear of it. */
  cut(): void
  /** Nobody hears of it: what is sent goes nowhere, who calls gets no answer. */
  silence(on: boolean): void
  /** Whoever calls is hung up on. */
  refuse(on: boolean): void
  /** Changes one byte, so many on from here. */
  corruptAfter(bytes: number): void
  close(): void
}

export const openCutLink = async (target: () => number): Promise<CutLink> => {
  const pairs = new Set<readonly [Socket, Socket]>()
  const cuts: { direction: 'forth' | 'back'; bytes: number }[] = []
  let count = 0
  let carried = 0
  let isSilent = false
  let isRefusing = false
  let corruptAt: number | null = null

  const drop = (pair: readonly [Socket, Socket]) => {
    pairs.delete(pair)
    for (const end of pair) end.resetAndDestroy()
  }
  const server = createServer((near) => {
    if (isRefusing) return void near.resetAndDestroy()
    const far = connect(target(), '127.0.0.1')
    const pair = [near, far] as const
    pairs.add(pair)
    count += 1
    const cut = cuts.shift()
    const carry = (from: Socket, to: Socket, direction: 'forth' | 'back') => {
      let bytes = 0
      from.on('data', (chunk: Buffer) => {
        if (isSilent) return
        if (direction === 'forth') {
          if (corruptAt !== null && carried + chunk.length > corruptAt) {
            const at = corruptAt - carried
            chunk.writeUInt8(chunk.readUInt8(at) ^ 1, at)
            corruptAt = null
          }
          carried += chunk.length
        }
        const left = cut?.direction === direction ? cut.bytes - bytes : Number.POSITIVE_INFINITY
        bytes += chunk.length
        if (chunk.length >= left) {
          to.write(chunk.subarray(0, left), () => drop(pair))
          return
        }
        if (!to.write(chunk)) {
          from.pause()
          to.once('drain', () => from.resume())
        }
      })
      from.on('error', () => drop(pair))
      from.on('end', () => isSilent || to.end())
      from.on('close', () => isSilent || to.destroy())
    }
    carry(near, far, 'forth')
    carry(far, near, 'back')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    count: () => count,
    carried: () => carried,
    cutAt: (direction, bytes) => void cuts.push({ direction, bytes }),
    cut: () => {
      for (const pair of pairs) drop(pair)
    },
    silence: (on) => {
      isSilent = on
      // What was there stays dead for good, as after a change of address.
      if (!on) for (const pair of pairs) drop(pair)
    },
    refuse: (on) => {
      isRefusing = on
    },
    corruptAfter: (bytes) => {
      corruptAt = carried + bytes
    },
    close: () => {
      server.close()
      for (const pair of pairs) drop(pair)
    },
  }
}
