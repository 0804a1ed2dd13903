import { appendFile, mkdir, open, readdir, readFile, truncate, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import type { Backend } from '../../../src/backends/backend.ts'
import { volumeId } from '../../../src/domain/ids.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { createExec } from '../../../src/lib/exec.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import { createTreeDigests } from '../../../src/migrate/verification/digest-service.ts'
import type { TreeDigests } from '../../../src/migrate/verification/tree-digests.ts'
import {
  endVerification,
  type Side,
  type VerifyArgs,
  verifySnapshot,
} from '../../../src/migrate/verification/verify-snapshot.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'
import { digestOf } from '../../support/tree-digest.ts'

const volume = volumeId('v'.repeat(26))
const then = new Date('2020-02-03T04:05:06Z')
const task = { verificationId: 'v1', volumeId: volume, snapshot: 's' }

interface TestSide extends Side {
  readonly top: string
  readonly dataDir: string
  digests: TreeDigests
}

/** A host whose only snapshot is a directory. */
const sideOf = async (host: string): Promise<TestSide> => {
  const dataDir = await temporaryDirectory()
  const top = join(dataDir, 'top')
  await mkdir(join(top, 'data'), { recursive: true })
  const backend = {
    spec: { text: 'btrfs:/pool' },
    snapshots: {
      list: async () => [{ name: 's', uuid: 'u' }],
      withPath: <T>(_id: string, _name: string, use: (path: string) => Promise<T>) => use(top),
    },
  } as unknown as Backend
  const side: TestSide = {
    host,
    snapshot: 's',
    top,
    dataDir,
    digests: createTreeDigests({ exec: createExec(silentLogger), clock: systemClock, dataDir }),
    agent: {
      digestSnapshot: ({ waitMs, ...asked }) => side.digests.status(backend, asked, waitMs),
      digestChunks: ({ verificationId, from, limit }) => side.digests.chunks(verificationId, from, limit),
      digestItems: ({ start, ...asked }) => side.digests.items(backend, asked, start),
      endDigest: ({ verificationId }) => side.digests.end(verificationId),
    },
  }
  onTestFinished(() => side.digests.close())
  return side
}

const argsOf = (one: Side, other: Side): VerifyArgs => ({
  verificationId: task.verificationId,
  volumeId: volume,
  sides: [one, other],
  clock: systemClock,
  signal: new AbortController().signal,
})

const plant = async ({ top }: TestSide): Promise<void> => {
  const file = async (name: string, size: number) => {
    const path = join(top, 'data', name)
    await writeFile(path, name)
    await truncate(path, size)
    await utimes(path, then, then)
  }
  for (let index = 0; index < 30; index += 1) await file(`small-${index}`, 1000 + index)
  await file('huge', 300 * 2 ** 20)
  await file('zz', 10)
}

const dataDigest = ({ top }: TestSide): string => digestOf(top, undefined, 'data')

const flipBit = async (path: string, offset: number): Promise<void> => {
  const handle = await open(path, 'r+')
  await handle.write(Buffer.from([1]), 0, 1, offset)
  await handle.close()
  await utimes(path, then, then)
}

test('equal; then one bit in the middle of a big file, and names that came and went', async () => {
  const [one, other] = [await sideOf('host1'), await sideOf('host2')]
  await plant(one)
  await plant(other)
  // What a kind of pool keeps beside the volume's own.
  await mkdir(join(other.top, 'lost+found'))
  const args = argsOf(one, other)
  const equal = await verifySnapshot(args)
  expect(equal).toMatchObject({ state: 'equal', entries: 33, differences: [], algorithm: 'drover-tree-1-sha256' })
  expect(equal.digests).toEqual({ host1: dataDigest(one), host2: dataDigest(one) })
  await endVerification(args)
  expect(await readdir(join(one.dataDir, 'verifications'))).toEqual([])

  await flipBit(join(other.top, 'data/huge'), 200 * 2 ** 20)
  const bit = await verifySnapshot(args)
  expect(bit).toMatchObject({ state: 'differs', differences: [{ path: 'data/huge', what: 'bytes' }] })
  await endVerification(args)

  await flipBit(join(other.top, 'data/huge'), 0)
  await writeFile(join(one.top, 'data/a\nnew'), '')
  await writeFile(join(other.top, 'data/small-3'), 'otherwise')
  const names = await verifySnapshot(args)
  expect(names.differences.slice(0, 2)).toEqual([
    { path: 'data/a\\x0anew', what: 'only on host1' },
    { path: 'data/huge', what: 'bytes' },
  ])
  await endVerification(args)
})

test('cut off, and with its last line torn, it goes on where it was; another snapshot begins anew', async () => {
  const [one, other] = [await sideOf('host1'), await sideOf('host2')]
  await plant(one)
  await plant(other)
  const file = join(one.dataDir, 'verifications/v1.jsonl')
  while ((await one.agent.digestSnapshot({ ...task, waitMs: 1 })).bytes === 0);
  one.digests.close()
  await one.agent.digestSnapshot({ ...task, waitMs: 60_000 })
  const [header = '', first = ''] = (await readFile(file, 'utf8')).split('\n')
  await writeFile(file, `${header}\n${first}\n`)
  await appendFile(file, '{"start":{"ordinal":3')

  one.digests = createTreeDigests({ exec: createExec(silentLogger), clock: systemClock, dataDir: one.dataDir })
  expect(await verifySnapshot(argsOf(one, other))).toMatchObject({ state: 'equal' })
  const after = (await readFile(file, 'utf8')).split('\n')
  expect(after.slice(0, 2)).toEqual([header, first])
  expect(after.slice(1)).toEqual(
    (await readFile(join(other.dataDir, 'verifications/v1.jsonl'), 'utf8')).split('\n').slice(1),
  )

  await writeFile(file, `${header.replace('"u"', '"another"')}\n${first.replace(/"digest":"./, '"digest":"f')}\n`)
  one.digests = createTreeDigests({ exec: createExec(silentLogger), clock: systemClock, dataDir: one.dataDir })
  expect(await verifySnapshot(argsOf(one, other))).toMatchObject({ state: 'equal' })
})

test('what is missing below the snapshot is told, and no name of a verification leaves its directory', async () => {
  const one = await sideOf('host1')
  await expect(one.agent.endDigest({ verificationId: '../x' })).rejects.toMatchObject({ code: 'BAD_REQUEST' })
  await expect(one.agent.endDigest({ verificationId: 'unknown' })).resolves.toBeUndefined()
})
