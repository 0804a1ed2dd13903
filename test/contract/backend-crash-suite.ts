import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Backend } from '../../src/backends/backend.ts'
import type { VolumeId } from '../../src/domain/ids.ts'
import type { Exec } from '../../src/lib/exec.ts'
import { type BackendBench, exec, mib, raise } from './backend-bench.ts'

/** The process dies when it is about to start its command of this number: nothing of it goes on. */
const dyingAt = (number: number): { exec: Exec; death: Promise<'died'> } => {
  const { promise: death, resolve } = Promise.withResolvers<'died'>()
  let count = 0
  const isAlive = () => {
    count += 1
    if (count >= number) resolve('died')
    return count < number
  }
  return {
    death,
    exec: {
      ...exec,
      run: (argv, options) => (isAlive() ? exec.run(argv, options) : new Promise(() => {})),
      spawn: (argv, stdio) => {
        if (isAlive()) return exec.spawn(argv, stdio)
        throw new Error('died')
      },
    },
  }
}

interface Operation {
  readonly prepare?: (backend: Backend, id: VolumeId) => Promise<unknown>
  readonly run: (backend: Backend, id: VolumeId) => Promise<unknown>
  /** What then has to hold. */
  readonly check: (backend: Backend, id: VolumeId) => Promise<unknown>
}

/**
 * Each operation is cut off before each of its commands in turn. Then a new process opens the pool and does it again, which has to work
 * as if nothing had been; a writer that has the volume mounted goes on; and a removal leaves nothing behind.
 */
export const crashSuite = (bench: BackendBench): void => {
  let arriving: { readonly origin: VolumeId; readonly identity: string | null } | null = null
  const operations: Readonly<Record<string, Operation>> = {
    create: {
      prepare: (backend, id) => backend.destroyLive(id),
      run: (backend, id) => backend.create(id, { sizeBytes: 32 * mib }),
      check: async (backend, id) => expect((await backend.live(id))?.sizeBytes).toBe(32 * mib),
    },
    'a snapshot of what is mounted': {
      run: async (backend, id) => backend.snapshots?.create(id, 's', 'move'),
      check: async (backend, id) => {
        const [snapshot] = (await backend.snapshots?.list(id)) ?? []
        if (snapshot !== undefined) expect(await backend.snapshots?.intact(id, snapshot)).toBe(true)
      },
    },
    'the unchanged proof': {
      prepare: async (backend, id) => backend.snapshots?.create(id, 's', 'move'),
      run: async (backend, id) => backend.snapshots?.unchangedSince(id, 's'),
      check: async (backend, id) => expect(await backend.snapshots?.unchangedSince(id, 's')).not.toBe(false),
    },
    promote: {
      prepare: async (backend, id) => {
        await backend.snapshots?.create(id, 's', 'move')
        if (backend.streams !== undefined) await backend.destroyLive(id)
      },
      run: async (backend, id) => backend.streams?.promote(id, 's', { sizeBytes: 32 * mib }),
      check: async (backend, id) => expect(await backend.live(id)).not.toBeNull(),
    },
    'what arrives becomes a snapshot': {
      prepare: async (backend) => {
        const origin = await bench.made(32 * mib)
        const sent = await backend.snapshots?.create(origin, 's', 'move')
        arriving = { origin, identity: sent?.streamUuid ?? null }
      },
      run: async ({ snapshots, streams }, id) => {
        const { origin, identity } = arriving ?? raise('nothing was prepared')
        if (streams === undefined || identity === null) return
        const isThere = (await snapshots?.list(id))?.some(({ name }) => name === 's') === true
        if (!isThere) {
          const send = await streams.sendCommand(origin, 's', null, streams.version)
          const { codes } = await bench.hands.pipe(send, await streams.prepareReceive(id, 'm'))
          expect(codes).toEqual([0, 0])
        }
        await streams.finishReceive(id, 'm', 's', identity)
      },
      check: async (backend, id) => {
        const { origin, identity } = arriving ?? raise('nothing was prepared')
        if (backend.streams !== undefined) {
          expect(await backend.streams.partials(id)).toEqual([])
          const [snapshot, ...others] = (await backend.snapshots?.list(id)) ?? []
          expect([snapshot?.streamUuid, others]).toEqual([identity, []])
          if (snapshot !== undefined) expect(await backend.snapshots?.intact(id, snapshot)).toBe(true)
        }
        await backend.destroy(origin)
      },
    },
    'a removal of the live dataset': {
      run: (backend, id) => backend.destroyLive(id),
      check: async (backend, id) => expect(await backend.live(id)).toBeNull(),
    },
  }

  describe('a crash before any command', () => {
    test.each(Object.entries(operations))('%s', async (name, { prepare, run, check }) => {
      const { backend, pool, hands } = bench
      // Quotas and reserves come with the first use, and stay.
      const first = await bench.made(32 * mib)
      await backend.snapshots?.create(first, 's', 'move')
      await backend.destroy(first)
      await backend.settled()
      const before = await pool.leftovers()
      for (let number = 1, isOver = false; !isOver; number += 1) {
        const id = await bench.made(32 * mib)
        const isMounted = name.includes('mounted')
        const data = isMounted ? await bench.mounted(backend, id) : null
        await prepare?.(backend, id)
        const dying = dyingAt(number)
        const outcome = await Promise.race([dying.death, run(pool.backend(dying.exec), id).catch(() => 'died')])
        isOver = outcome !== 'died'
        const again = pool.backend()
        await again.open()
        if (data !== null) await hands.writeFile(join(data, 'goes on'), 'x', { flush: true })
        await run(again, id)
        await check(again, id)
        if (data !== null) await again.unmount(id, join(data, '..'))
        await again.destroy(id)
        await again.settled()
        await again.close()
        expect(await pool.leftovers(), `died before command ${number}`).toEqual(before)
      }
    })
  })
}
