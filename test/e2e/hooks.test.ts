import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, expect, it } from 'vitest'
import { clearHosts, expectRefusal, goesOn, startWriter, worldOf } from '../support/e2e.ts'
import { useLab } from '../support/lab.ts'

/** Programs of the operator around a move. They do what a file beside them says, and note how they were called. */
const directory = mkdtempSync('/var/tmp/drover-hooks-')
const file = (name: string): string => join(directory, name)
const script = `#!/bin/sh
echo "$(hostname) $DROVER_HOOK $DROVER_PHASE $DROVER_VOLUME $DROVER_SOURCE $DROVER_TARGET $#" >>${file('calls')}
. ${file('then')}
`
writeFileSync(file('then'), '')
writeFileSync(file('hook'), script)
chmodSync(file('hook'), 0o755)
writeFileSync(
  file('vold.toml'),
  `[hooks]\nbefore_quiesce = "${file('hook')}"\nafter_activate = "${file('hook')}"\ntimeout = "2s"\n`,
)

const shared = useLab('hooks', { poolBytes: 2 ** 30, voldFlags: ['--config', file('vold.toml')] })
afterEach(() => clearHosts(shared))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const calls = (): string[] => readFileSync(file('calls'), 'utf8').trim().split('\n')

it('run on the source before the writers stop and on the target after they started; what fails before undoes the move', async () => {
  const { host1, host2 } = shared
  await startWriter(host1, 'writer', 'db')
  writeFileSync(file('then'), 'echo looking >&2; echo not tonight >&2; exit 7')
  const failed = await host1.tryVol('move', 'db', '--to', 'host2')
  expect(failed.exitCode).toBe(1)
  expect(failed.stderr).toMatch(
    /\nvol: HOOK_FAILED: hook before_quiesce \(\S+\/hook\) on host host1 failed for volume db: exit status 7: not tonight\n$/,
  )
  expect(calls()).toEqual(['host1 before_quiesce quiesce db host1 host2 0'])

  const before = await worldOf(shared)
  writeFileSync(file('then'), `sleep 300 & echo $! >${file('child')}; wait`)
  const late = await host1.tryVol('move', 'db', '--to', 'host2')
  expect(late.stderr).toMatch(/\nvol: HOOK_FAILED: .*it did not end within 2000 ms and was killed\n$/)
  const child = readFileSync(file('child'), 'utf8').trim()
  expect(existsSync(host1.path(`/proc/${child}`))).toBe(false)
  await goesOn(host1, 'writer')
  expect({ ...(await worldOf(shared)), moves: [] }).toEqual({ ...before, moves: [] })

  // After commit nothing is taken back.
  writeFileSync(file('then'), '[ $DROVER_HOOK = before_quiesce ] || { echo who is that >&2; exit 1; }')
  const moved = await host1.exec(['vol', 'move', 'db', '--to', 'host2'])
  expect(moved.stderr).toMatch(
    /vol: warning: hook after_activate .* on host host2 failed .*: exit status 1: who is that\n/,
  )
  expect(calls().slice(-2)).toEqual([
    'host1 before_quiesce quiesce db host1 host2 0',
    'host2 after_activate activate db host1 host2 0',
  ])
  await goesOn(host2, 'writer')
})

it('that cannot be configured so are refused', async () => {
  writeFileSync(file('wrong.toml'), '[hooks]\nbefore_quiesce = "rm -rf /"\n')
  const refused = await shared.host1.tryExec(['vold', '--config', file('wrong.toml')])
  expectRefusal(
    { ...refused, stderr: refused.stderr.replace(/^vold:/, 'vol:') },
    2,
    'BAD_CONFIG',
    /hooks\.before_quiesce.*absolute/,
  )
})
