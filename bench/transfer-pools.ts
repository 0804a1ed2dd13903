import { execFileSync } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'

/** Two btrfs pools on loop devices under one directory; image files filled first, no discard: both would distort times. */
export interface BenchPools {
  readonly source: string
  readonly target: string
  close(): void
}

export const run = (file: string, ...args: string[]): string =>
  execFileSync(file, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })

export const openPools = (directory: string, bytesEach: number): BenchPools => {
  const undo: (() => void)[] = []
  const open = (name: string): string => {
    const image = join(directory, `${name}.img`)
    const mountPoint = join(directory, name)
    const zeros = Buffer.alloc(2 ** 20)
    undo.push(() => rmSync(image, { force: true }))
    const file = openSync(image, 'w')
    for (let at = 0; at < bytesEach; at += zeros.length) writeSync(file, zeros)
    fsyncSync(file)
    closeSync(file)
    run('mkfs.btrfs', '-q', image)
    mkdirSync(mountPoint)
    run('mount', '-o', 'loop,nodiscard,noatime', image, mountPoint)
    undo.push(() => {
      run('umount', mountPoint)
      rmSync(mountPoint, { recursive: true })
    })
    return mountPoint
  }
  const close = () => {
    for (const step of undo.reverse()) step()
  }
  try {
    return { source: open('source'), target: open('target'), close }
  } catch (error) {
    close()
    throw error
  }
}

/** Also while something still uses it: the loop device then goes when that ends. */
export const unmountBelow = (directory: string): void => {
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n')
  for (const mountPoint of mounts.map((line) => line.split(' ')[1] ?? '')) {
    if (mountPoint.startsWith(`${directory}/`)) run('umount', '--lazy', mountPoint)
  }
}

/** A subvolume with this many files of random bytes. */
export const fillSubvolume = (path: string, files: number, bytesEach: number): void => {
  run('btrfs', 'subvolume', 'create', path)
  const block = Buffer.alloc(Math.min(bytesEach, 2 ** 20))
  for (let index = 0; index < files; index += 1) {
    const directory = join(path, `d${Math.floor(index / 1000)}`)
    mkdirSync(directory, { recursive: true })
    const file = openSync(join(directory, `f${index}`), 'w')
    for (let at = 0; at < bytesEach; at += block.length) {
      writeSync(file, randomFillSync(block), 0, Math.min(block.length, bytesEach - at))
    }
    closeSync(file)
  }
  run('sync', '-f', path)
}

/** Changes a hundredth: megabytes spread over the one file, or whole files of many. */
export const changeOnePercent = (path: string, files: number, bytesEach: number): void => {
  if (files === 1) {
    const piece = Math.min(2 ** 20, Math.floor(bytesEach / 100))
    const pieces = Math.max(1, Math.floor(bytesEach / 100 / piece))
    const file = openSync(join(path, 'd0', 'f0'), 'r+')
    for (let index = 0; index < pieces; index += 1) {
      const at = Math.floor((index * bytesEach) / pieces / 4096) * 4096
      writeSync(file, randomFillSync(Buffer.alloc(piece)), 0, piece, at)
    }
    closeSync(file)
  } else {
    for (let index = 0; index < files; index += 100) {
      writeFileSync(join(path, `d${Math.floor(index / 1000)}`, `f${index}`), randomFillSync(Buffer.alloc(bytesEach)))
    }
  }
  run('sync', '-f', path)
}

export const snapshot = (from: string, to: string): void => {
  run('btrfs', 'subvolume', 'snapshot', '-r', from, to)
}

/** Gone, and its space free again. */
export const removeSubvolumes = (pool: string, ...paths: string[]): void => {
  for (const path of paths) run('btrfs', 'subvolume', 'delete', '-c', path)
  run('btrfs', 'subvolume', 'sync', pool)
  run('sync', '-f', pool)
}
