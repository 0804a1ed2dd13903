import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { allSuites } from '../../lab/vm/suites.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'

const root = join(import.meta.dirname, '../..')
const inGuest = [...allSuites(), 'power-cuts'].map((name) => `vm/${name}`)
const here = ['unit', 'platform', 'e2e']

const report = (top: string, projects: readonly string[], status: string): string =>
  JSON.stringify({
    testResults: projects.map((project) => ({
      name: `${top}/test/${project}/some.test.ts`,
      status: 'passed',
      assertionResults: ['passed', status].map((each) => ({
        ...{ status: each, fullName: `a test that has ${each}` },
        failureMessages: each === 'failed' ? ['Error: not so\n at a line'] : [],
      })),
    })),
  })

const count = async (files: Readonly<Record<string, string>>, exitStatus = '0') => {
  const directory = await temporaryDirectory()
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text)
  const { status, stdout, stderr } = spawnSync(process.execPath, ['scripts/count-results.ts', directory, exitStatus], {
    cwd: root,
    encoding: 'utf8',
  })
  return { status, stdout: stdout.trimEnd().split('\n'), stderr }
}

const machine = report(root, here, 'passed')
const all = 2 * (here.length + inGuest.length)

test('one line for what ran on the machine and in the guest', async () => {
  const guest = report('/drover', inGuest, 'passed')
  const done = await count({ 'machine.json': machine, 'guest.json': guest })
  expect(done).toEqual({ status: 0, stdout: [`${all} passed, 0 failed`], stderr: '' })
})

test('what failed in the guest has failed', async () => {
  const guest = report('/drover', inGuest, 'failed')
  const done = await count({ 'machine.json': machine, 'guest.json': guest }, '1')
  expect(done).toMatchObject({ status: 1, stdout: [`${all - inGuest.length} passed, ${inGuest.length} failed`] })
  expect(done.stderr).toContain('failed: test/vm/zfs/some.test.ts: a test that has failed: Error: not so\n')
})

test.each([
  { what: 'no guest', files: {} },
  { what: 'half of its results', files: { 'guest.json': '{"testResults": [' } },
])('$what: its suites have failed', async ({ files }) => {
  const done = await count({ 'machine.json': machine, ...files }, '1')
  expect(done).toMatchObject({ status: 1, stdout: [`${2 * here.length} passed, ${inGuest.length} failed`] })
  expect(done.stderr).toContain('suite vm/zfs did not run')
})
