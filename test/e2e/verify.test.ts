import { beforeAll, describe, expect, test } from 'vitest'
import { until } from '../../lab/command.ts'
import type { LabHost } from '../../lab/host.ts'
import type { MoveView, VerificationView, VolumeDetail } from '../../src/control/control.ts'
import { expectRefusal, goesOn, inspect, inVolume, startWriter } from '../support/e2e.ts'
import { useLab } from '../support/lab.ts'

const lab = useLab('verify', { subnet: '10.83.7', poolBytes: 2 ** 30, images: ['busybox'] })

const detailOf = async (volume: string): Promise<VolumeDetail> =>
  (await inspect(lab.host1, volume)) as unknown as VolumeDetail

/** The replica's snapshot, as a path on its host. */
const replicaOf = async (volume: string): Promise<{ host: LabHost; path: string; keepUntil: string | null }> => {
  const { id, replicas } = await detailOf(volume)
  const [replica] = replicas
  if (replica?.base == null) throw new Error(`${volume} has no replica`)
  const path = `/srv/pool/volumes/${id}/snapshots/${replica.base}/snap`
  return { host: lab.host(replica.host), path, keepUntil: replica.keepUntil }
}

/** One bit of one byte, the file's times as they were. */
const flip = async (volume: string, file: string): Promise<void> => {
  const { host, path } = await replicaOf(volume)
  const script = `set -e
    btrfs property set -f -ts ${path} ro false
    touch -r ${path}/${file} /tmp/times
    byte=$(od -An -tu1 -j 70000 -N 1 ${path}/${file})
    printf "\\\\$(printf %o $((byte ^ 1)))" | dd of=${path}/${file} bs=1 seek=70000 conv=notrunc status=none
    touch -r /tmp/times ${path}/${file}
    btrfs property set -ts ${path} ro true`
  await host.exec(['sh', '-c', script])
}

/** Chunks that the verification under way has done on this host. */
const chunksOn = async (host: LabHost): Promise<string[]> => {
  const directory = '/var/lib/drover/verifications'
  const { stdout } = await host.tryExec(['sh', '-c', `cat ${directory}/*.jsonl 2>/dev/null || true`])
  return stdout.split('\n').slice(1, -1)
}

describe('vol move --verify and vol verify', () => {
  beforeAll(async () => {
    await startWriter(lab.host1, 'writer', 'db')
    await lab.host1.docker(
      ...['exec', 'writer', 'sh', '-c'],
      'mkdir /d/deep && head -c 300000 /dev/urandom >/d/deep/blob && ln /d/deep/blob /d/again && sync',
    )
  })

  test('the receipt is printed, kept with the move and told as an event; the writer ran meanwhile', async () => {
    expect(await lab.host1.vol('move', 'db', '--to', 'host2', '--verify')).toMatch(
      /^moved db from host1 to host2: .*, downtime .*, content equal on both hosts \(\d+ entries, .*\)$/,
    )
    await goesOn(lab.host2, 'writer')
    const [move]: MoveView[] = JSON.parse(await lab.host1.vol('--json', 'moves', '--volume', 'db'))
    expect(move?.verification).toMatchObject({ state: 'equal', snapshot: move?.finalSnapshot, differences: [] })
    const digests = move?.verification?.digests ?? {}
    expect(digests.host1).toMatch(/^[0-9a-f]{64}$/)
    expect(digests.host2).toBe(digests.host1)
    expect(await lab.host1.vol('events')).toMatch(/move\.verified .*"state":"equal"/)
    expect(await lab.host1.vol('move-status', move?.id ?? '')).toMatch(/content: +content equal on both hosts/)
    for (const host of [lab.host1, lab.host2]) expect(await chunksOn(host)).toEqual([])
  })

  test('vol verify compares owner and replica while the volume is written', async () => {
    expect(await lab.host2.vol('verify', 'db')).toMatch(/^db: host2 and host1: content equal on both hosts \(/)
    const view: VerificationView = JSON.parse(await lab.host1.vol('--json', 'verify', 'db'))
    expect(view).toMatchObject({ state: 'equal', replicas: [{ host: 'host1', result: { state: 'equal' } }] })
    expect(await lab.host1.vol('events')).toMatch(/volume\.verified .*"state":"equal"/)
  })

  test('without a replica, and without the volume', async () => {
    await lab.host1.vol('create', 'lonely')
    expectRefusal(await lab.host1.tryVol('verify', 'lonely'), 3, 'NO_SUCH_REPLICA', /lonely has no replica/)
    expectRefusal(await lab.host1.tryVol('verify', 'nobody'), 3, 'NO_SUCH_VOLUME', /nobody/)
  })

  test('one flipped bit is found, its file named, the copy kept, and nothing received upon it', async () => {
    await flip('db', 'data/deep/blob')
    expectRefusal(await lab.host1.tryVol('verify', 'db'), 1, 'CONTENT_DIFFERS', /data\/again \(bytes\)/)
    expect((await replicaOf('db')).keepUntil).toBeNull()
    expectRefusal(
      await lab.host1.tryVol('move', 'db', '--to', 'host1'),
      1,
      'CONTENT_DIFFERS',
      /vol verify db --discard/,
    )
    await goesOn(lab.host2, 'writer')
    await flip('db', 'data/deep/blob')
    expect(await lab.host1.vol('verify', 'db')).toMatch(/content equal/)
    expect((await replicaOf('db')).keepUntil).not.toBeNull()
  })

  test('a copy that differs is removed when one says so, and only that', async () => {
    expectRefusal(await lab.host1.tryVol('verify', 'db', '--discard'), 3, 'NO_SUCH_REPLICA', /found to differ/)
    await flip('db', 'data/deep/blob')
    expect((await lab.host1.tryVol('verify', 'db')).exitCode).toBe(1)
    expect(await lab.host1.vol('verify', 'db', '--discard')).toBe('removed the replica of db on host1')
    expectRefusal(await lab.host1.tryVol('verify', 'db'), 3, 'NO_SUCH_REPLICA', /has no replica/)
    await goesOn(lab.host2, 'writer')
  })
})

describe('kill -9 in the middle of a verification', () => {
  // Holes cost no disk and no stream, and are read like any bytes.
  const size = 3 * 2 ** 30
  const killedInTheMiddle = async (command: Promise<unknown>, victim: LabHost): Promise<void> => {
    const before = await until('some chunks', async () => {
      const chunks = await chunksOn(victim)
      return chunks.length >= 3 ? chunks : null
    })
    await victim.killVold()
    const kept = await chunksOn(victim)
    expect(kept.slice(0, before.length)).toEqual(before)
    expect(kept.length).toBeLessThan(size / 2 ** 26)
    await victim.startVold()
    const after = await until('a further chunk', async () => {
      const chunks = await chunksOn(victim)
      return chunks.length > kept.length ? chunks : null
    })
    expect(after.slice(0, kept.length)).toEqual(kept)
    await command
  }

  beforeAll(async () => {
    await lab.host1.vol('create', 'big', '--host', 'host1')
    await inVolume(lab.host1, 'big', `truncate -s ${size} /d/holes && echo end >>/d/holes`)
  })

  test('of the control role, which is also the source: the move and its proof go on', async () => {
    const moving = lab.host2.vol('move', 'big', '--to', 'host2', '--verify')
    await killedInTheMiddle(moving, lab.host1)
    expect(await moving).toMatch(/content equal on both hosts/)
  })

  test('of the owner, while vol verify waits on the other host', async () => {
    const verifying = lab.host1.vol('verify', 'big')
    await killedInTheMiddle(verifying, lab.host2)
    expect(await verifying).toMatch(/^big: host2 and host1: content equal on both hosts/)
    expect(await chunksOn(lab.host2)).toEqual([])
  })
})
