import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { createBackend } from '../../src/backends/registry.ts'
import { parsePoolSpec } from '../../src/domain/pool.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { silentLogger } from '../../src/lib/logger.ts'
import { exec, newId } from '../contract/backend-bench.ts'
import { loopBtrfs } from '../support/loop-btrfs.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'

/** What src/backends/btrfs/snapshots.ts builds its proofs on. */
test('the generation of a subvolume stays with reads, mount, unmount and a snapshot of it, and grows with a write', async () => {
  const disk = await loopBtrfs()
  onTestFinished(() => disk.dispose())
  const context = { exec, logger: silentLogger, clock: systemClock }
  const backend = createBackend({ ...context, spec: parsePoolSpec(`btrfs:${disk.path}`) })
  await backend.open()
  onTestFinished(() => backend.close())
  const id = newId()
  const generation = async () => (await backend.live(id))?.generation
  const { generation: made } = await backend.create(id, { sizeBytes: null })
  const path = join(await temporaryDirectory(), 'mnt')
  await backend.mount(id, path)
  await readdir(join(path, 'data'))
  expect(await generation()).toBe(made)
  await writeFile(join(path, 'data', 'x'), 'x')
  const written = await generation()
  expect(written).toBeGreaterThan(made)
  const snapshot = await backend.snapshots?.create(id, 's', 'move')
  expect(await generation()).toBe(snapshot?.generation)
  await backend.unmount(id, path)
  expect(await generation()).toBe(snapshot?.generation)
})
