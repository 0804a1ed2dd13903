import { closeSync, existsSync, mkdirSync, openSync, readSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { run } from '../command.ts'
import { cacheDirectory } from '../state.ts'
import { makeDisk } from './disks.ts'

/*
 * Disks that go from one guest to the next, with what programs keep to start more quickly: nothing that a result depends on. Each guest
 * has a copy of its own, and the last one to end leaves its own behind.
 */

/**
 * How node starts in a guest. Without the cache it strips the types of its source and compiles it anew each time, which is two thirds of
 * its time. V8's helpers only take turns with what they help, where there is one processor.
 */
export const quickNode = ['NODE_COMPILE_CACHE=/kept/compiled', 'NODE_OPTIONS=--v8-pool-size=0'] as const

/** For the tests, see test/support/in-a-hurry.ts. */
export const inAHurry = 'DROVER_TEST_HURRY=1'

const home = (name: string): string => join(cacheDirectory(), 'vm', `kept-${name}.ext4`)

/** A copy of what the last guest left, or an empty one. */
export const keptDisk = async (name: string, file: string): Promise<void> => {
  if (existsSync(home(name))) await run(['cp', '--sparse=always', home(name), file])
  else await makeDisk(file, '1G')
}

/** One that was not unmounted, or is filling up with what nobody asks for any more, is not kept: the next guest begins anew. */
export const keep = (name: string, file: string): void => {
  if (!isWorthKeeping(superblockOf(file))) return
  mkdirSync(join(cacheDirectory(), 'vm'), { recursive: true })
  renameSync(file, home(name))
}

/** @param superblock of ext4, see struct ext4_super_block */
const isWorthKeeping = (superblock: Buffer): boolean => {
  const [blocks, free, state] = [
    superblock.readUInt32LE(0x04),
    superblock.readUInt32LE(0x0c),
    superblock.readUInt16LE(0x3a),
  ]
  return state === 1 && free > blocks / 2
}

const superblockOf = (file: string): Buffer => {
  const fd = openSync(file, 'r')
  try {
    const bytes = Buffer.alloc(1024)
    readSync(fd, bytes, 0, bytes.length, 1024)
    return bytes
  } finally {
    closeSync(fd)
  }
}
