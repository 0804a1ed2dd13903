import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Backend, SnapshotFacet, StreamFacet, TreeFacet } from '../src/backends/backend.ts'
import { createBackend } from '../src/backends/registry.ts'
import { receiveCommand, sendCommand } from '../src/backends/tree/commands.ts'
import type { SnapshotRecord } from '../src/domain/dataset.ts'
import type { VolumeId } from '../src/domain/ids.ts'
import { parsePoolSpec } from '../src/domain/pool.ts'
import { systemClock } from '../src/lib/clock.ts'
import { createExec } from '../src/lib/exec.ts'
import { silentLogger } from '../src/lib/logger.ts'
import { newId, raise, recordOf } from '../test/contract/backend-bench.ts'
import { loopBtrfs } from '../test/support/loop-btrfs.ts'
import { loopDisk } from '../test/support/loop-disk.ts'
import { changeFile, fillFile } from './changed-file.ts'
import { type Bench, subdirectory } from './context.ts'
import { type DroverLink, openDroverLink } from './drover-link.ts'
import { table, type Verdict } from './report.ts'
import { run } from './transfer-pools.ts'

/** As a database changes them. */
const pageBytes = 8192
const most = { native: 1.3, crossing: 1.2 }

interface Pair {
  readonly from: Kind
  readonly to: Kind
}
type Kind = 'btrfs' | 'loop'
const pairs: readonly Pair[] = [
  { from: 'btrfs', to: 'btrfs' },
  { from: 'loop', to: 'loop' },
  { from: 'btrfs', to: 'loop' },
  { from: 'loop', to: 'btrfs' },
]

const opened = async (kind: Kind, bytes: number): Promise<{ backend: Backend; close(): Promise<void> }> => {
  const disk = await (kind === 'btrfs' ? loopBtrfs(bytes) : loopDisk('xfs', bytes))
  const spec = parsePoolSpec(`${kind}:${disk.path}`)
  const parts = { exec: createExec(silentLogger), logger: silentLogger, clock: systemClock }
  const backend = createBackend({ spec, ...parts })
  await backend.open()
  return {
    backend,
    close: async () => {
      await backend.close()
      await disk.dispose()
    },
  }
}

const snapshotsOf = (on: Backend): SnapshotFacet => on.snapshots ?? raise('no snapshots')
const streamsOf = (on: Backend): StreamFacet => on.streams ?? raise('no streams')
const treesOf = (on: Backend): TreeFacet => on.trees ?? raise('no trees')

interface Shipment {
  readonly from: Backend
  readonly to: Backend
  readonly id: VolumeId
  readonly sizeBytes: number
  readonly sent: SnapshotRecord
  readonly base: SnapshotRecord | null
}

/** As a round of a move. @returns bytes on the wire, in TLS */
const ship = async (link: DroverLink, { from, to, id, sizeBytes, sent, base }: Shipment): Promise<number> => {
  if (streamsOf(from).format === streamsOf(to).format) {
    const send = await streamsOf(from).sendCommand(id, sent.name, base?.name ?? null, streamsOf(to).version)
    const receive = await streamsOf(to).prepareReceive(id, 'bench', base?.streamUuid ?? null)
    const { wireBytes } = await link.carry(send, receive, { plain: false })
    await streamsOf(to).finishReceive(id, 'bench', sent.name, sent.streamUuid)
    return wireBytes
  }
  await treesOf(to).prepareReceive(id, 'bench', base?.name ?? null, { sizeBytes })
  const baseIdentity = base?.streamUuid ?? null
  const order = {
    ...{ identity: sent.streamUuid, baseIdentity },
    baseTakenMs: Date.parse((base ?? sent).createdAt) - (from.trees?.datedLateMs ?? 0),
  }
  const shown = (snapshot: SnapshotRecord | null, use: (path: string | null) => Promise<number>): Promise<number> =>
    snapshot === null ? use(null) : snapshotsOf(from).withPath(id, snapshot.name, (path) => use(join(path, 'data')))
  const wireBytes = await shown(sent, (top) =>
    shown(base, (basePath) =>
      treesOf(to).withPartial(id, 'bench', async ({ path, proofPath }) => {
        const send = sendCommand({ ...order, top: top ?? raise('no path'), base: basePath })
        const receive = receiveCommand({ tree: join(path, 'data'), baseIdentity, proofPath })
        return (await link.carry(send, receive, { plain: false })).wireBytes
      }),
    ),
  )
  await treesOf(to).finishReceive(id, 'bench', sent.name, sent.streamUuid)
  return wireBytes
}

/** A hundredth of a volume changed, in pages all over one file: what goes over the wire. */
export const onePercent: Bench = {
  name: 'one-percent',
  run: async (context) => {
    const mib = context.quick ? 64 : 1024
    const fileBytes = mib * 2 ** 20
    const pages = Math.round(fileBytes / 100 / pageBytes)
    const directory = subdirectory(context, 'one-percent')
    const link = await openDroverLink()
    const rows: string[][] = []
    const verdicts: Verdict[] = []
    const measure = async (pair: Pair, from: Backend, to: Backend): Promise<void> => {
      const id = newId()
      // On btrfs the limit counts extents whole of which a page is left.
      const sizeBytes = 3 * fileBytes
      await from.writeRecord(recordOf(id, from))
      await from.create(id, { sizeBytes })
      await to.writeRecord(recordOf(id, to))
      const path = join(directory, id)
      mkdirSync(path)
      await from.mount(id, path)
      try {
        const file = join(path, 'data', 'file')
        fillFile(file, fileBytes)
        const s1 = await snapshotsOf(from).create(id, 's1', 'move')
        await ship(link, { from, to, id, sizeBytes, sent: s1, base: null })
        changeFile(file, fileBytes, pages, pageBytes)
        const s2 = await snapshotsOf(from).create(id, 's2', 'move')
        const wireBytes = await ship(link, { from, to, id, sizeBytes, sent: s2, base: s1 })
        const isBtrfs = pair.from === 'btrfs' && pair.to === 'btrfs'
        const against = isBtrfs ? await sentByBtrfs(from, id) : pages * pageBytes
        const [what, goal] = isBtrfs
          ? (['`btrfs send -p`', most.native] as const)
          : (['the pages that changed', pair.from === pair.to ? most.native : most.crossing] as const)
        const ratio = wireBytes / against
        context.say(`${pair.from} to ${pair.to}: ${wireBytes} on the wire, ${what} ${against}`)
        rows.push([`${pair.from} to ${pair.to}`, `${what}: ${against}`, String(wireBytes), ratio.toFixed(3)])
        verdicts.push({
          what: `bytes on the wire, 1% of ${mib} MiB changed, ${pair.from} to ${pair.to}, against ${what}`,
          measured: ratio.toFixed(3),
          goal: `≤ ${goal.toFixed(2)}`,
          holds: ratio <= goal,
        })
      } finally {
        await from.unmount(id, path)
      }
    }
    try {
      for (const pair of pairs) {
        const poolBytes = 2 ** 30 + 4 * fileBytes
        const [from, to] = [await opened(pair.from, poolBytes), await opened(pair.to, poolBytes)]
        await measure(pair, from.backend, to.backend).finally(async () => {
          await from.close()
          await to.close()
        })
      }
    } finally {
      await link.close()
    }
    return {
      title: `1% of ${mib} MiB changed, in pages of 8 KiB`,
      body: table(['pools', 'against, bytes', 'on the wire, bytes', 'ratio'], rows),
      verdicts,
    }
  },
}

const sentByBtrfs = (from: Backend, id: VolumeId): Promise<number> =>
  snapshotsOf(from).withPath(id, 's1', (base) =>
    snapshotsOf(from).withPath(id, 's2', async (path) =>
      Number(run('sh', '-c', 'btrfs send -q -p "$1" "$2" | wc -c', 'sh', base, path)),
    ),
  )
