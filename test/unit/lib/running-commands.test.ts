import { expect, test } from 'vitest'
import { createExec } from '../../../src/lib/exec.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import { RunningCommands } from '../../../src/lib/running-commands.ts'

test('the longest-running command about something is told, with pid and time', () => {
  let now = 1_000
  const running = new RunningCommands({ monotonic: () => now })
  expect(running.about('db')).toBeNull()
  const first = running.begin(['btrfs', 'subvolume', 'show', '/pool/db/live'], 4711)
  now += 61_000
  const second = running.begin(['umount', '/mnt/db'], 4712)
  running.begin(['umount', '/mnt/web'], 4713)
  expect(running.about('/db')).toBe("'btrfs subvolume show /pool/db/live' (pid 4711) since 61 s")
  first.command.killed = true
  expect(running.about('/db')).toMatch(/since 61 s, which does not end although it was killed$/)
  first.end()
  expect(running.about('/db')).toBe("'umount /mnt/db' (pid 4712) since 0 s")
  second.end()
  expect(running.about('/db')).toBeNull()
})

test('a command is told while it runs; one over its time is killed and has ended when that is said', async () => {
  const running = new RunningCommands({ monotonic: () => 0 })
  const exec = createExec(silentLogger, running)
  const hung = exec.run(['sleep', '1000.5'], { timeoutMs: 200 })
  expect(running.about('1000.5')).toMatch(/^'sleep 1000.5' \(pid \d+\)/)
  await expect(hung).rejects.toMatchObject({ code: 'TIMED_OUT', message: expect.stringContaining('was killed') })
  expect(running.about('1000.5')).toBeNull()
})
