import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { systemClock } from '../../../src/lib/clock.ts'
import { openSqliteStore } from '../../../src/state/sqlite-store.ts'
import { volumeRow } from '../../contract/store-suite.ts'

let directory: string
let path: string
const children: ChildProcess[] = []
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'drover-store-'))
  path = join(directory, 'state.db')
})
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
  await rm(directory, { recursive: true, force: true })
})

/** A process that opens the store and runs the lines, in which `store` and `row(count, changes)` are known. */
const start = (lines: string) => {
  const source = (file: string) => JSON.stringify(fileURLToPath(new URL(`../../../src/${file}`, import.meta.url)))
  const script = `
    import { openSqliteStore } from ${source('state/sqlite-store.ts')}
    import { systemClock } from ${source('lib/clock.ts')}
    const store = await openSqliteStore({ path: ${JSON.stringify(path)}, clock: systemClock })
    const template = ${JSON.stringify(volumeRow(1))}
    const row = (count, changes) => ({ ...template, id: 'v' + String(count).padStart(25, '0'), name: 'n' + count, ...changes })
    ${lines}`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  children.push(child)
  return child
}

test('processes that race for names: each name has one winner, the others hear VOLUME_EXISTS', async () => {
  const results = await Promise.all(
    [1, 2, 3].map((who) =>
      text(
        start(`
          const wins = { won: 0, lost: 0 }
          for (let count = 0; count < 60; count += 1) {
            try {
              await store.insertVolume(row(${who} * 1000 + count, { name: 'shared-' + count }))
              wins.won += 1
            } catch (error) {
              if (error.code !== 'VOLUME_EXISTS') throw error
              wins.lost += 1
            }
          }
          process.stdout.write(JSON.stringify(wins))`).stdout,
      ),
    ),
  )
  const counts = results.map((result) => JSON.parse(result) as { won: number; lost: number })
  expect(counts.reduce((sum, { won }) => sum + won, 0)).toBe(60)
  expect(counts.reduce((sum, { lost }) => sum + lost, 0)).toBe(120)
  const store = await openSqliteStore({ path, clock: systemClock })
  expect(await store.volumes()).toHaveLength(60)
  expect((await store.identity()).commitSequence).toBe(60)
  await store.close()
})

test('what was said to be written is there after kill -9, whole', async () => {
  const child = start(`
    for (let count = 0; ; count += 1) {
      await store.insertVolume(row(count, {}))
      process.getBuiltinModule('node:fs').writeSync(1, count + '\\n')
    }`)
  let said = ''
  while (said.split('\n').length < 40) said += String((await once(child.stdout, 'data'))[0])
  child.kill('SIGKILL')
  await once(child, 'exit')
  const last = Number(said.slice(0, said.lastIndexOf('\n')).split('\n').at(-1))
  const store = await openSqliteStore({ path, clock: systemClock })
  const { length } = await store.volumes()
  expect(length).toBeGreaterThan(last)
  expect((await store.identity()).commitSequence).toBe(length)
  await store.close()
})
