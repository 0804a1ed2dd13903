import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, type onTestFinished, test, vi } from 'vitest'
import { createExec } from '../../src/lib/exec.ts'
import { silentLogger } from '../../src/lib/logger.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'

const model = join(import.meta.dirname, '../../model/ownership.pml')
const exec = createExec(silentLogger)
const limitMs = 15 * 60_000
// A search has one core and up to 1.6 GB.
vi.setConfig({ maxConcurrency: 2 })

interface Verdict {
  readonly errors: number
  /** Which property failed; null when none did. */
  readonly violated: string | null
  readonly states: number
  /** Every reachable state was looked at: neither depth nor memory cut the search short. */
  readonly exhaustive: boolean
  readonly output: string
}

const twoWriters = 'two hosts write'
const lostWrite = 'an acknowledged write is lost'
const noWriter = 'nobody writes for ever, or the store does not know who'
const undone = 'a move that nothing disturbs is undone'
const numberAgain = 'a volume is owned twice at one epoch'
const stolen = 'a Mount elsewhere stops a writer'

/** Which assertion of the model it was, by its text. */
const propertyOf = (output: string): string | null => {
  const text = /^pan:1: (.*)$/m.exec(output)?.[1]
  if (text === undefined) return null
  if (text.includes('s_open==0')) return noWriter
  if (/\b(H\[h\]\.data|disk)==acked/.test(text)) return lostWrite
  if (text.includes('H[2].mounted)==1')) return twoWriters
  if (text.includes('!(H[h].mounted)')) return stolen
  if (text.includes('epoch[c_move]>s_epoch')) return numberAgain
  if (text.startsWith('assertion violated 0 ')) return undone
  return text
}

const generate = async (defines: readonly string[], finished: typeof onTestFinished): Promise<string> => {
  const directory = await temporaryDirectory(finished)
  const spin = ['spin', '-a', ...defines.map((define) => `-D${define}`), model] as const
  // spin writes where it stands.
  await exec.run(['env', '-C', directory, ...spin]).catch(async (error) => {
    await exec.run(['spin', '-V'])
    throw error
  })
  return directory
}

/** One C compiler run and one search, on one core. `search`: pan's own options. */
const check = async (
  finished: typeof onTestFinished,
  defines: readonly string[],
  build: readonly string[],
  search: readonly string[],
): Promise<Verdict> => {
  const directory = await generate(defines, finished)
  const pan = join(directory, 'pan')
  // No partial order reduction: the host processes share all their variables, it has nothing to reduce.
  const options = ['-w', '-DNOREDUCE', '-DMEMLIM=4000', ...build]
  await exec.run(['gcc', ...options, '-o', pan, `${pan}.c`], { timeoutMs: limitMs })
  const stop = new AbortController()
  finished(() => stop.abort())
  const run = ['env', '-C', directory, pan, '-m400000', '-w24', ...search] as const
  const { stdout: output } = await exec.run(run, { timeoutMs: limitMs, signal: stop.signal })
  const [, errors] = /errors: (\d+)/.exec(output) ?? []
  const [, states] = /^\s*([\d.e+]+) states, stored/m.exec(output) ?? []
  return {
    errors: Number(errors),
    violated: propertyOf(output),
    states: Number(states),
    exhaustive: !/not completed|too small|out of memory|truncated/i.test(output),
    output,
  }
}

const twoMovesOldStore = ['MOVES=2', 'SNAPS=1', 'WRITES=1', 'RESTORE'] as const

/** Every fault that the model has, each machine with the others it can bear; together they are the claim of docs/move-protocol.md. */
const machines: readonly [name: string, defines: readonly string[], optimize: '-O0' | '-O1'][] = [
  ['two moves, an old store', twoMovesOldStore, '-O1'],
  ['two moves, a disk rolled back', ['MOVES=2', 'SNAPS=1', 'WRITES=1', 'ROLLBACK'], '-O0'],
  ['two moves after each other', ['MOVES=2', 'SNAPS=1', 'WRITES=1'], '-O0'],
  ['one move, an old store', ['MOVES=1', 'RESTORE'], '-O1'],
  ['one move, a disk rolled back', ['MOVES=1', 'ROLLBACK'], '-O1'],
  ['one move, the prepared dataset may vanish', ['MOVES=1', 'MISSING'], '-O0'],
  ['one move, the target may be lost for good', ['MOVES=1', 'DEAD'], '-O0'],
  ['one move, S taken twice', ['MOVES=1'], '-O0'],
  ['one move, asked for by a Mount', ['MOVES=1', 'PULL'], '-O0'],
  ['two moves, nothing disturbs', ['MOVES=2', 'UNDISTURBED'], '-O0'],
  ['two moves, the disk is handed over', ['MOVES=2', 'SNAPS=1', 'WRITES=1', 'HANDOVER'], '-O0'],
  ['one move, the disk is handed over, the target may be lost for good', ['MOVES=1', 'HANDOVER', 'DEAD'], '-O0'],
]

/** Each rule, broken: in one move where nothing else is said. Where it shows, and what fails then. */
const breakings: readonly [rule: string, defines: readonly string[], violated: string][] = [
  ['RELEASE', [], twoWriters],
  ['COMMIT', [], twoWriters],
  ['SEAL', ['UNDISTURBED'], undone],
  ['PROOF', [], lostWrite],
  ['KILL', [], twoWriters],
  ['STALE', [], twoWriters],
  ['STEP', [], lostWrite],
  ['TIMEOUT', [], twoWriters],
  ['ALONE', [], twoWriters],
  ['CANCEL', [], twoWriters],
  ['ABORT_ORDER', [], twoWriters],
  ['BEHIND', ['SNAPS=1', 'RESTORE'], twoWriters],
  ['REMEMBER', ['SNAPS=1', 'RESTORE'], twoWriters],
  ['RECOVER', ['SNAPS=1', 'RESTORE'], twoWriters],
  ['TERM', twoMovesOldStore, numberAgain],
  ['ASK', ['ROLLBACK'], twoWriters],
  ['SUPERSEDED', ['ROLLBACK'], noWriter],
  ['STREAM', [], lostWrite],
  ['SYNC', [], lostWrite],
  ['MISSING', ['MISSING'], lostWrite],
  ['GIVEBACK', ['MISSING'], noWriter],
  ['LOST', [], twoWriters],
  ['RETURN', [], twoWriters],
  ['STEAL', ['PULL'], stolen],
  ['LETGO', ['HANDOVER', 'UNDISTURBED'], undone],
  ['MARK', ['HANDOVER'], lostWrite],
]

describe.concurrent('the ownership protocol, every state of the model', { timeout: limitMs }, () => {
  test.for(machines)('%s: one writer, and no write lost', async ([name, defines, optimize], { onTestFinished }) => {
    const verdict = await check(onTestFinished, defines, [optimize, '-DSAFETY'], [])
    console.log(`model: ${name}: ${verdict.states} states, ${verdict.errors} errors`)
    expect(verdict.violated, verdict.output).toBeNull()
    expect(verdict.errors, verdict.output).toBe(0)
    expect(verdict.exhaustive, verdict.output).toBe(true)
    expect(verdict.states).toBeGreaterThan(500)
  })

  test('one move: once the faults end nobody goes round in circles', async ({ onTestFinished }) => {
    const verdict = await check(onTestFinished, ['MOVES=1', 'MISSING'], ['-O1', '-DNP'], ['-l'])
    expect(verdict.output).toMatch(/non-progress cycles\s+\+/)
    expect(verdict.errors, verdict.output).toBe(0)
    expect(verdict.exhaustive, verdict.output).toBe(true)
  })
})

describe.concurrent('a broken rule is found', { timeout: limitMs }, () => {
  test.for(breakings)('%s', async ([rule, defines, violated], { onTestFinished }) => {
    const moves = defines.includes('MOVES=2') ? [] : ['MOVES=1']
    const verdict = await check(onTestFinished, [...moves, ...defines, `BREAK_${rule}`], ['-O0', '-DSAFETY'], [])
    expect(verdict.errors, verdict.output).toBe(1)
    expect(verdict.violated, verdict.output).toBe(violated)
  })

  test('TERM only in the second move: one move with an old store does not show it', async ({ onTestFinished }) => {
    const verdict = await check(
      onTestFinished,
      ['MOVES=1', 'SNAPS=1', 'RESTORE', 'BREAK_TERM'],
      ['-O0', '-DSAFETY'],
      [],
    )
    expect(verdict.errors, verdict.output).toBe(0)
    expect(verdict.exhaustive, verdict.output).toBe(true)
  })

  test('every rule that the model can break is broken here, and told in the docs', async () => {
    const text = await readFile(model, 'utf8')
    const told = await readFile(join(import.meta.dirname, '../../docs/move-protocol.md'), 'utf8')
    const inModel = [...new Set([...text.matchAll(/BREAK_([A-Z_]+)/g)].map(([, rule]) => rule))]
    expect(breakings.map(([rule]) => rule).toSorted()).toEqual(inModel.toSorted())
    const missing = inModel.filter((rule) => !told.includes(`\`${rule}\``))
    expect(missing, 'not in docs/move-protocol.md').toEqual([])
  })
})
