import { join } from 'node:path'
import { expect, test } from 'vitest'
import { postgresArchive } from '../../../lab/images/postgres.ts'
import { runInGuest } from '../../../lab/vm/guest.ts'
import { kernelModules } from '../../../lab/vm/suites.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'

const minute = 60_000

test('a PostgreSQL goes from guest to guest: zfs to zfs, back upon the base, and to lvm-thin, with every acknowledged row', async () => {
  const path = join(await temporaryDirectory(), 'cable')
  const postgres = await postgresArchive()
  const over = new AbortController()
  const output = { 1: '', 2: '' }
  const boot = (end: 1 | 2): Promise<number> =>
    runInGuest(`exec bash test/vm/two-guests/host.sh ${end}`, {
      memoryMib: 3072,
      modules: [...kernelModules, 'overlay'],
      timeoutMs: 50 * minute,
      images: { postgres },
      link: { path, end },
      ...(end === 2 ? { powerCut: over.signal } : {}),
      onOutput: (chunk) => {
        output[end] += chunk
        if (process.env.DROVER_VM_OUTPUT !== undefined) process.stdout.write(chunk)
      },
    })
  const second = boot(2)
  second.catch(() => {})
  const status = await boot(1).catch((error: Error) => error.message)
  // What the first one has not told to end would stay.
  const patience = setTimeout(() => over.abort(), status === 0 ? minute : 0)
  await second.finally(() => clearTimeout(patience)).catch(() => {})
  expect(status, `${output[1]}\n${output[2]}`).toBe(0)
  expect(output[1]).toMatch(/ [1-9]\d* rows acknowledged, 0 missing/)
  console.log(
    output[1]
      .split('\n')
      .filter((line) => line.startsWith('walk'))
      .join('\n'),
  )
})
