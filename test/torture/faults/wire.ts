import type { ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { sleep } from '../../../lab/command.ts'
import type { Phase } from '../../../src/domain/move.ts'
import type { Fault, Scene } from '../fault.ts'

const proxyPort = 7999
const dataPort = 7461
const waitMs = 4_000
const rule = ['PREROUTING', '-p', 'tcp', '--dport', String(dataPort), '-j', 'REDIRECT', '--to-ports', String(proxyPort)]
const proxies = new WeakMap<Scene, { child: ChildProcess; said: { text: string } }>()

/** Until it has said this word. */
const heard = async (said: { text: string }, word: string, ms: number): Promise<boolean> => {
  for (const end = performance.now() + ms; performance.now() < end; await sleep(5)) {
    if (said.text.includes(word)) return true
  }
  return false
}

const broken = (name: string, says: string, kinds: readonly string[]): Fault => ({
  name,
  says,
  notIn: (phase: Phase) =>
    ['plan', 'precopy', 'quiesce', 'delta'].includes(phase) ? null : 'no stream flows any more',
  prepare: async (scene) => {
    const { target, afterwards } = scene
    const argv = ['node', join(import.meta.dirname, 'wire-proxy.ts'), String(proxyPort), String(dataPort)]
    const child = target.spawn(argv, ['pipe', 'pipe', 'inherit'])
    const ended = new Promise((resolve) => child.once('close', resolve))
    afterwards.push(async () => {
      child.stdin?.end()
      await ended
    })
    const said = { text: '' }
    child.stdout?.on('data', (bytes: Buffer) => {
      said.text += bytes.toString()
    })
    if (!(await heard(said, 'ready', 10_000))) throw new Error('the proxy before the data port did not start')
    proxies.set(scene, { child, said })
    await target.exec(['iptables', '-w', '-t', 'nat', '-I', ...rule])
    afterwards.push(() => target.exec(['iptables', '-w', '-t', 'nat', '-D', ...rule]))
  },
  strike: async (scene) => {
    const proxy = proxies.get(scene)
    if (proxy === undefined) return false
    // A stream of a phase that has just begun may be small.
    const after = scene.random.chance(0.3) ? scene.random.between(0, 4_000) : scene.random.between(0, 60_000)
    proxy.child.stdin?.write(`${scene.random.pick(kinds)} ${after}\n`)
    return heard(proxy.said, 'struck', waitMs)
  },
  mend: async () => {},
  mended: 'soon',
  noWriterIn: [],
})

export const wireFaults = [
  broken('stream-corrupted', 'one bit of the stream arrives flipped', ['flip']),
  broken('stream-truncated', 'the stream ends in the middle, in order or by a reset', ['end', 'reset']),
]
