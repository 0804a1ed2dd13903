import type { Socket } from 'node:net'
import type { Connections } from './receive.ts'

/** The connections of one channel, as `vold` routes them here. */
export interface Arrivals extends Connections {
  readonly first: Promise<Socket>
  add(socket: Socket): void
}

export const createArrivals = (): Arrivals => {
  const first = Promise.withResolvers<Socket>()
  const early: Socket[] = []
  let taker: ((socket: Socket) => void) | null = null
  return {
    first: first.promise,
    add(socket) {
      first.resolve(socket)
      if (taker === null) early.push(socket)
      else taker(socket)
    },
    onEach(take) {
      taker = take
      for (const socket of early.splice(0)) take(socket)
    },
  }
}
