import { dirname } from 'node:path'
import type { Argv } from '../../src/backends/backend.ts'
import type { Hands } from '../contract/hands.ts'
import type { Kernel } from './kernel.ts'
import { type Dataset, errnoError, type MemoryPool } from './memory-pool.ts'
import { readStream, writeStream } from './stream.ts'

export interface HandsWorld {
  readonly kernel: Kernel
  readonly pool: MemoryPool
}

/** The contract suites' hands on pools in memory. What only real files have (owners, links, holes) is left out of `plantTree`. */
export const memoryHands = (worlds: readonly HandsWorld[]): Hands => {
  /** The dataset mounted above the path, and the rest of it. */
  const at = (path: string): HandsWorld & { dataset: Dataset; below: string } => {
    for (let top = path; top !== '/'; top = dirname(top)) {
      for (const world of worlds) {
        const dataset = world.kernel.ownMountAt(top)?.dataset ?? null
        if (dataset !== null) return { ...world, dataset, below: path.slice(top.length + 1) }
      }
    }
    throw errnoError('ENOENT', -2)
  }
  const read = (path: string): Uint8Array => {
    const { dataset, below } = at(path)
    const bytes = dataset.files.get(below)
    if (bytes === undefined) throw errnoError('ENOENT', -2)
    return bytes
  }
  const write = (path: string, bytes: Uint8Array): void => {
    const { pool, dataset, below } = at(path)
    pool.write(dataset, below, bytes)
  }
  const change = (path: string, work: (files: Map<string, Uint8Array>, below: string) => void): void => {
    const { pool, dataset, below } = at(path)
    pool.change(dataset, (files) => work(files, below))
  }
  const sourceOf = (id: string, snapshot: string) =>
    worlds.find(({ pool }) => pool.volumes.get(id)?.snapshots.has(snapshot)) ?? worlds[0]

  const pipe = (send: Argv, receive: Argv, isCut: boolean): { codes: number[]; bytes: number } => {
    const [, id = '', snapshot = ''] = send
    const [, into = '', partial = ''] = receive
    const from = sourceOf(id, snapshot)
    const to = worlds.find(({ pool }) => pool.volumes.get(into)?.partials.has(partial))
    if (from === undefined || to === undefined) return { codes: [1, 1], bytes: 0 }
    const stream = readStream(from.pool, send)
    writeStream(to.pool, receive, stream, !isCut, '2026-11-24T00:00:00.000Z')
    return isCut ? { codes: [1, 1], bytes: 0 } : { codes: [0, 0], bytes: stream.bytes }
  }

  const hands: Hands = {
    writeFile: async (path, data) => write(path, Buffer.from(data)),
    appendFile: async (path, text) => write(path, Buffer.concat([read(path), Buffer.from(text)])),
    readFile: async (path) => Buffer.from(read(path)),
    readdir: async (path) => {
      const { dataset, below } = at(path)
      return [...dataset.files.keys()]
        .filter((name) => dirname(name) === below)
        .map((name) => name.slice(below.length + 1))
    },
    rm: async (path) => change(path, (files, below) => void files.delete(below)),
    rename: async (from, to) => {
      const bytes = read(from)
      change(from, (files, below) => {
        files.delete(below)
        files.set(at(to).below, bytes)
      })
    },
    chmod: async (path) => change(path, () => {}),
    symlink: async (to, path) => write(path, Buffer.from(`-> ${to}`)),
    exists: async (path) => {
      try {
        at(path)
        return true
      } catch {
        return false
      }
    },
    open: async (path) => {
      const { kernel, pool, dataset, below } = at(path)
      write(path, Buffer.alloc(0))
      const opener = { pid: kernel.newPid(), dataset }
      kernel.openers.push(opener)
      return {
        append: async (bytes) => write(path, Buffer.concat([read(path), bytes])),
        close: async () => {
          kernel.openers = kernel.openers.filter((other) => other !== opener)
          if (!dataset.files.has(below)) pool.touch(dataset)
        },
      }
    },
    plantTree: async (directory) => {
      for (const name of ['plain', 'owned', 'symlink', 'deep/er/est/file'])
        write(`${directory}/${name}`, Buffer.from(name))
    },
    describeTree: async (directory) => {
      const { dataset, below } = at(directory)
      return [...dataset.files]
        .filter(([name]) => name.startsWith(`${below}/`))
        .map(([name, bytes]) => `${name} ${Buffer.from(bytes).toString('base64')}`)
        .toSorted()
        .join('\n')
    },
    plantHostileTree: (directory) => hands.plantTree(directory),
    digestTree: (directory) => hands.describeTree(directory),
    layersAt: async (path) =>
      worlds.flatMap(({ kernel }) => kernel.mounts).filter((mount) => mount.namespace === 'own' && mount.path === path)
        .length,
    bindAgain: async (path) => {
      const world = worlds.find(({ kernel }) => kernel.ownMountAt(path) !== undefined)
      const mount = world?.kernel.ownMountAt(path)
      if (mount !== undefined) world?.kernel.mount(path, 'own', mount.volumeId, mount.dataset)
    },
    mountOther: async (path) => {
      const kernel = worlds[0]?.kernel
      const mount = kernel?.mount(path, 'own', '', null)
      return async () => {
        if (kernel !== undefined) kernel.mounts = kernel.mounts.filter((other) => other !== mount)
      }
    },
    cutOff: async (send, receive) => void pipe(send, receive, true),
    pipe: async (send, receive, options) => pipe(send, receive, options?.cut === true),
  }
  return hands
}
