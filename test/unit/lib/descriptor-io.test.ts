import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'

const module = (name: string): string => JSON.stringify(join(import.meta.dirname, '../../../src/lib', name))
const nonblocking = 0o4000

test('reads of stdin wait for bytes, also where commands are run', async () => {
  const program = `
    import { readFileSync } from 'node:fs'
    const { keepStdinForReads } = await import(${module('descriptor-io.ts')})
    keepStdinForReads()
    await import(${module('exec.ts')})
    console.log(/flags:\\s*(\\d+)/.exec(readFileSync('/proc/self/fdinfo/0', 'utf8'))[1])`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: ['pipe', 'pipe', 'inherit'] })
  expect(Number.parseInt(await text(child.stdout), 8) & nonblocking).toBe(0)
})
