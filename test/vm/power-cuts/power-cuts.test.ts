import { truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { runInGuest } from '../../../lab/vm/guest.ts'
import { inAHurry, quickNode } from '../../../lab/vm/kept.ts'
import { modulesFor } from '../../../lab/vm/suites.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'
import { mark, type Step } from './state.ts'

const minute = 60_000
/** QEMU was killed. */
const cutOff = 128 + 9

const isAll = process.env.DROVER_VM_ALL !== undefined
const kinds = isAll ? ['zfs', 'lvm-thin'] : ['zfs']
const haste = isAll ? [] : [inAHurry]

/** Boots a guest for one step; its power fails as soon as it says that something is acknowledged. @returns what it said then */
const run = async (disk: string, kind: string, step: Step, state: string) => {
  const power = new AbortController()
  let output = ''
  const told = () => new RegExp(`^${mark}(.*)\n`, 'm').exec(output)?.[1]
  const quoted = `'${state.replaceAll("'", "'\\''")}'`
  // Where node handles faults itself, the kernel does not tell of one that ends it.
  const node = `env ${[...quickNode, ...haste].join(' ')} node_modules/.bin/node --disable-wasm-trap-handler`
  const status = await runInGuest(`exec ${node} test/vm/power-cuts/steps.ts ${kind} ${step} ${quoted}`, {
    memoryMib: 2048,
    modules: modulesFor([kind]),
    timeoutMs: 10 * minute,
    disks: { pools: disk },
    keepAs: 'power-cuts',
    powerCut: power.signal,
    onOutput: (chunk) => {
      output += chunk
      if (told() !== undefined) power.abort()
    },
  })
  return { status, output, state: told() ?? '' }
}

test.each(kinds)(
  '%s: the power fails in the middle of a receive, and after a volume has become the owner',
  async (kind) => {
    const disk = join(await temporaryDirectory(), 'pools')
    writeFileSync(disk, '')
    truncateSync(disk, 3 * 2 ** 30)
    const received = await run(disk, kind, 'receive', '')
    expect(received, received.output).toMatchObject({ status: cutOff })
    const finished = await run(disk, kind, 'finish', received.state)
    expect(finished, finished.output).toMatchObject({ status: cutOff })
    const settled = await run(disk, kind, 'settle', finished.state)
    expect(settled, settled.output).toMatchObject({ status: 0 })
  },
)
