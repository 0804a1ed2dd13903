import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { run } from '../command.ts'
import { repository } from '../host.ts'
import { cacheDirectory, withLock } from '../state.ts'

/** Files are put into an ext4 without mounting anything; no journal, since each is new for its guest. */
export const makeDisk = async (file: string, size: string, from?: string): Promise<void> => {
  const tree = from === undefined ? [] : ['-d', from]
  const options = ['-E', 'lazy_itable_init=1', '-O', '^has_journal', '-m', '0']
  await run(['mke2fs', '-q', '-F', '-t', 'ext4', ...options, ...tree, file, size])
}

/** What the tests do not run with. */
const notInGuest = ['typescript', '@typescript', '@biomejs', 'playwright-core', '.cache', '.vite', '.vite-temp']

/** node_modules as a disk, made once for a package-lock.json. */
export const modulesDisk = (): Promise<string> =>
  withLock('vm-modules', async () => {
    const directory = join(cacheDirectory(), 'vm')
    mkdirSync(directory, { recursive: true })
    const lock = readFileSync(join(repository, 'package-lock.json'))
    const name = `modules-${createHash('sha256').update(lock).digest('hex').slice(0, 12)}.ext4`
    const file = join(directory, name)
    if (existsSync(file)) return file
    for (const old of readdirSync(directory).filter((each) => each.startsWith('modules-'))) {
      rmSync(join(directory, old), { recursive: true, force: true })
    }
    const tree = `${file}.tree`
    try {
      await run(['cp', '-a', join(repository, 'node_modules'), tree])
      for (const each of notInGuest) rmSync(join(tree, each), { recursive: true, force: true })
      await makeDisk(`${file}.new`, '2G', tree)
      renameSync(`${file}.new`, file)
    } finally {
      rmSync(tree, { recursive: true, force: true })
    }
    return file
  })

const treeParts = [
  'package.json',
  'vitest.config.ts',
  'tsconfig.json',
  'src',
  'test',
  'lab',
  'bin',
  'bench',
  'demo',
  'scripts',
]

/** What is PID 1, the project as it lies here, the command, and the kernel modules it wants. */
export const runDisk = async (file: string, command: string, modules: readonly string[]): Promise<void> => {
  const tree = `${file}.tree`
  try {
    mkdirSync(join(tree, 'tree'), { recursive: true })
    // Built, vold and vol start in half the time.
    const parts = existsSync(join(repository, 'dist')) ? [...treeParts, 'dist'] : treeParts
    for (const part of parts) await run(['cp', '-a', join(repository, part), join(tree, 'tree')])
    await run(['install', '-m', '755', join(import.meta.dirname, 'guest-init.sh'), join(tree, 'init')])
    writeFileSync(join(tree, 'command'), `${command}\n`)
    writeFileSync(join(tree, 'modules'), `${modules.join(' ')}\n`)
    await makeDisk(file, '256M', tree)
  } finally {
    rmSync(tree, { recursive: true, force: true })
  }
}

/** Empty, for what the tests write; takes no room before. */
export const scratchDisk = (file: string): Promise<void> => makeDisk(file, '24G')
