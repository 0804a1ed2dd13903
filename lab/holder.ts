import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { LabError } from './command.ts'
import { type ProcessRef, processRef } from './processes.ts'
import { writeRef } from './state.ts'

const script = join(import.meta.dirname, 'host-init.sh')

/**
 * Starts the process that holds a set of namespaces and records it in `refFile` before it makes anything. What it holds ends
 * with it: the kernel kills all processes of its pid namespace, and mounts, links and addresses go with the namespaces.
 */
export const startHolder = async (
  namespaces: readonly string[],
  args: readonly string[],
  refFile: string,
  logFile: string,
): Promise<ProcessRef> => {
  const log = openSync(logFile, 'a')
  const child = spawn('unshare', [...namespaces, '--fork', '--kill-child', '--', 'bash', script, ...args], {
    detached: true,
    stdio: ['pipe', 'pipe', log],
    cwd: '/',
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
  })
  closeSync(log)
  const failed = new Promise<never>((_, reject) => {
    child.once('error', (error) => reject(new LabError(`unshare could not be started: ${error.message}`)))
  })
  failed.catch(() => {}) // raced below; here only so that it never counts as unhandled
  const { stdin, stdout } = child
  if (stdin === null || stdout === null) throw new LabError('unshare has no pipes')
  stdin.on('error', () => {}) // gone already: its silence on stdout is what gets reported
  const lines = createInterface({ input: stdout })[Symbol.asyncIterator]()
  const next = async (): Promise<string> => {
    const line = await Promise.race([lines.next(), failed])
    if (line.done === true) throw new LabError(`a lab namespace did not come up; ${logFile} says why`)
    return line.value
  }
  try {
    const pid = Number((await next()).replace('pid ', ''))
    const ref = processRef(pid)
    if (ref === null) throw new LabError(`a lab namespace ended at once; ${logFile} says why`)
    writeRef(refFile, ref)
    stdin.write('go\n')
    const ready = await next()
    if (ready !== 'ready') throw new LabError(`a lab namespace said "${ready}" instead of "ready"`)
    return ref
  } finally {
    stdin.destroy()
    stdout.destroy()
    child.unref()
  }
}
