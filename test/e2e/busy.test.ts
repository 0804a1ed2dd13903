import { afterEach, describe, expect, it } from 'vitest'
import { until } from '../../lab/command.ts'
import type { LabHost } from '../../lab/host.ts'
import { clearHosts, expectRefusal, inspect, inVolume, pluginCall, volumeMounts } from '../support/e2e.ts'
import { useLab } from '../support/lab.ts'

/** What keeps a volume busy, and a command that hangs: named, waited for, and in nobody else's way. */
const shared = useLab('busy', { hosts: 1, poolBytes: 2 ** 30 })
afterEach(() => clearHosts(shared))

const shell = async (host: LabHost, script: string): Promise<string> =>
  (await host.exec(['bash', '-c', script])).stdout.trim()

/** A process of the host, outside of any container, in the volume's directory. */
const lurk = (host: LabHost): Promise<string> =>
  shell(host, 'cd /var/lib/drover/mnt/*/data; setsid sleep 4711 </dev/null >/dev/null 2>&1 & echo $!')

describe('a process outside of any container keeps a volume busy', () => {
  it('rm refuses and names it; the unmount is done by itself when it has gone', async () => {
    const { host1 } = shared
    await host1.docker(
      'run',
      '-d',
      '--init',
      '--name',
      'user',
      '-v',
      'held:/d',
      '--volume-driver',
      'drover',
      'busybox',
      'sleep',
      '1000',
    )
    const pid = await lurk(host1)
    await host1.docker('rm', '--force', 'user')
    expect(await volumeMounts(host1)).toHaveLength(1)
    const named = new RegExp(
      `on host host1 by pid ${pid} \\(sleep 4711; cwd\\) in the host's mount namespace mnt:\\[\\d+\\]`,
    )
    expectRefusal(await host1.tryVol('rm', 'held'), 4, 'VOLUME_BUSY', named)
    expect(await inspect(host1, 'held')).toMatchObject({
      mounted: true,
      holders: [{ pid: Number(pid), kinds: ['cwd'] }],
    })
    await host1.exec(['kill', pid])
    await until('the unmount', async () => ((await volumeMounts(host1)).length === 0 ? true : null))
    await host1.vol('rm', 'held')
  })
})

describe('a btrfs that hangs for one volume', () => {
  it('is told in time by that Mount, which goes on; everything else goes its way', async () => {
    const { host1 } = shared
    await host1.vol('create', 'hung')
    await inVolume(host1, 'well', 'echo here >/d/file')
    const { id } = await inspect(host1, 'hung')
    // As long as the file is there, every btrfs about that volume waits, in one process.
    const wrapper = `#!/bin/bash\ncase "$*" in *show*${id}*) while [ -e /srv/hang ]; do read -t 0.2 line <>/srv/never || :; done;; esac\nexec /usr/bin/btrfs "$@"\n`
    await host1.exec(['sh', '-c', 'mkdir -p /srv/wrap && cat >/srv/wrap/btrfs && chmod +x /srv/wrap/btrfs'], {
      input: wrapper,
    })
    await shell(host1, 'mkfifo /srv/never; touch /srv/hang')
    const flags = host1.vold.lastArgv ?? []
    await host1.exec(['sh', '-c', 'cat >/srv/vold.toml'], {
      input: '[plugin_limits]\nmount_ms = 4000\nbrief_ms = 800\n',
    })
    await host1.stopVold()
    const { PATH = '' } = host1.environment()
    const argv = flags.map((flag, index) => (flags[index - 1] === '--config' ? '/srv/vold.toml' : flag))
    await host1.vold.start(argv, { PATH: `/srv/wrap:${PATH}` })
    try {
      const mount = () => pluginCall(host1, 'VolumeDriver.Mount', { Name: 'hung', ID: 'a'.repeat(64) })
      const says = new RegExp(
        `TIMED_OUT: Mount of volume \\\\"hung\\\\" is still under way after 4000 ms: it waits for 'btrfs subvolume show .*${id}/live' \\(pid \\d+\\) since \\d+ s; it goes on by itself`,
      )
      const first = mount()
      // None of these waits for it.
      expect(await host1.docker('ps', '--quiet')).toBe('')
      expect((await host1.docker('volume', 'ls', '--quiet')).split('\n').sort()).toEqual(['hung', 'well'])
      expect(await inVolume(host1, 'well', 'cat /d/file')).toBe('here')
      expect((JSON.parse(await host1.vol('--json', 'ls')) as unknown[]).length).toBe(2)
      expect((await first).text).toMatch(says)
      const second = await mount()
      expect(second.text).toMatch(/TIMED_OUT: .*'btrfs subvolume show/)
      const waiting = () => shell(host1, `pgrep --count --full '[w]rap/btrfs.*${id}' || :`)
      expect(await waiting()).toBe('1')
      await shell(host1, 'rm /srv/hang')
      await until('the command to end', async () => ((await waiting()) === '0' ? true : null))
      // Nobody waited for it any more when it ended: it is taken back, and the next one is as any.
      expect(await inVolume(host1, 'hung', 'echo too >/d/file; cat /d/file')).toBe('too')
    } finally {
      await host1.exec(['rm', '-f', '/srv/hang'])
      await host1.stopVold()
      await host1.startVold(flags.slice(1))
    }
  })
})
