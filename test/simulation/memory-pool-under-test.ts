import type { MakePool } from '../contract/backend-bench.ts'
import { Kernel } from './kernel.ts'
import { MemoryBackend, quickHand } from './memory-backend.ts'
import { type HandsWorld, memoryHands } from './memory-hands.ts'
import { MemoryPool } from './memory-pool.ts'

const worlds: HandsWorld[] = []
const strangers = ['stranger', 'f'.repeat(26), 'n'.repeat(26)]

/** A pool in memory, for the contract suite. */
export const makePool: MakePool = async () => {
  const pool = new MemoryPool(`/pool-${worlds.length}`)
  const kernel = new Kernel(pool)
  const world = { pool, kernel }
  worlds.push(world)
  return {
    hands: memoryHands(worlds),
    backend: () => new MemoryBackend(pool, kernel, quickHand, () => new Date().toISOString()),
    plantForeign: async () => {
      for (const name of strangers) pool.directory(name)
      pool.directory('n'.repeat(26)).record = { formatVersion: 2 }
      return {
        names: strangers,
        untouched: async () => strangers.every((name) => pool.volumes.has(name)),
        remove: async () => {
          for (const name of strangers) pool.volumes.delete(name)
        },
      }
    },
    tamper: async (id, name) => {
      const snapshot = pool.volumes.get(id)?.snapshots.get(name)
      if (snapshot === undefined) throw new Error(`no snapshot ${name}`)
      snapshot.readOnly = false
      pool.write(snapshot, 'data/tampered', Buffer.from('x'))
      snapshot.readOnly = true
    },
    nest: async (id, path) => void pool.volumes.get(id)?.live?.nested.push(path),
    interruptRemoval: async (id) => {
      pool.volumes.delete(id)
      pool.trash.push(id)
    },
    interruptMaking: async (id) => {
      pool.directory(id).making = pool.newDataset(new Date().toISOString())
    },
    leftovers: async () => ({
      volumes: [...pool.volumes].map(([id, { live, making }]) => [id, live?.uuid, making?.uuid]),
      trash: [...pool.trash],
    }),
    dispose: async () => void worlds.splice(worlds.indexOf(world), 1),
  }
}
