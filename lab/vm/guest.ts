import { spawn } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { LabError, sleep } from '../command.ts'
import { isAlive, type ProcessRef, signalProcess, waitGone } from '../processes.ts'
import { labRoot, readRef, self, writeRef } from '../state.ts'
import { crashOf } from './crash.ts'
import { modulesDisk, runDisk, scratchDisk } from './disks.ts'
import { guestImage } from './image.ts'
import { keep, keptDisk } from './kept.ts'
import { type Link, linkArgv, linkReady } from './link.ts'
import { withWorkDirectory } from './work-directory.ts'

export interface GuestOptions {
  /** Bytes of memory, in MiB. */
  readonly memoryMib: number
  /** Kernel modules to load before the command runs. */
  readonly modules: readonly string[]
  /** The guest is cut off after this. */
  readonly timeoutMs: number
  /** What the command prints, both streams, as it comes. */
  readonly onOutput: (chunk: Buffer) => void
  /** What the command writes to /dev/drover-results becomes this file. */
  readonly resultsFile?: string
  /** Files that are disks of the guest, by the serial that it knows them by; what it wrote there stays. */
  readonly disks?: Readonly<Record<string, string>>
  /** The same, but for what it writes there, which is forgotten: several guests may have one. */
  readonly images?: Readonly<Record<string, string>>
  /** What the command leaves in /kept is there again in the next guest that keeps it by this name. */
  readonly keepAs?: string
  /** A network card, and the one guest that it leads to. */
  readonly link?: Link
  /** The guest's power fails: QEMU is killed. */
  readonly powerCut?: AbortSignal
}

/**
 * `tsc=reliable`: on a busy machine the kernel else comes to distrust the clock that QEMU emulates, takes one in its place that costs more.
 * `spa_asize_inflation`: near a limit ZFS takes what is on its way for 24 times as much as it is, as on its widest stripes, and ends a
 * transaction for each few kilobytes up to it. The pools here are of one disk.
 */
const kernelWords =
  'console=ttyS0 panic=-1 mitigations=off norandmaps init_on_alloc=0 audit=0 apparmor=0 tsc=reliable rcupdate.rcu_expedited=1 zfs.zfs_arc_max=268435456 zfs.spa_asize_inflation=3'

/**
 * Without what costs more in emulation than it gives: digests and random bytes take twice as long in the wide registers of AVX, `rep movsb`
 * goes byte by byte, each change of a protection key or of the kernel's access to a process's memory empties what QEMU knows of addresses,
 * and a fifth level of page tables is one more to walk.
 */
const processor = 'max,-avx,-avx2,-erms,-pku,-la57,-smap,-smep'

const guests = (): string => join(labRoot(), 'guests')

/**
 * Boots a guest, runs a command of bash in it, in a copy of the project as it lies here, as root, and powers it off.
 * @returns its exit status; that of SIGKILL when its power was cut
 * @throws {LabError} when the guest did not come up, or ran out of time
 */
export const runInGuest = async (command: string, options: GuestOptions): Promise<number> => {
  await sweepGuests()
  const [image, modules] = [await guestImage(), await modulesDisk()]
  mkdirSync(guests(), { recursive: true })
  const directory = mkdtempSync(join(guests(), `${process.pid}-`))
  writeRef(join(directory, 'owner.json'), self())
  return withWorkDirectory(directory, async (runs) => {
    const files = { run: join(directory, 'run.ext4'), scratch: join(directory, 'scratch.ext4') }
    const kept = join(directory, 'kept.ext4')
    const said = {
      status: join(directory, 'status'),
      results: join(directory, 'results'),
      console: join(directory, 'console.log'),
    }
    await Promise.all([
      runDisk(files.run, command, options.modules),
      scratchDisk(files.scratch),
      ...(options.keepAs === undefined ? [] : [keptDisk(options.keepAs, kept)]),
    ])
    const disk = (id: string, file: string, how: string) => [
      ...['-drive', `file=${file},if=none,id=${id},format=raw,${how}`],
      ...['-device', `virtio-blk-pci,drive=${id},serial=${id}`],
    ]
    const port = (name: string, backend: string) => [
      ...['-chardev', `${backend},id=${name}`],
      ...['-device', `virtserialport,chardev=${name},name=${name}`],
    ]
    const argv = [
      // /dev/kvm is not there everywhere, and where it is a nested guest may hang: emulation does everywhere.
      // One processor: with two that are emulated side by side a node broke now and then that compiles while it runs, and what
      // hands work from one to the other, as ZFS does, takes twice as long.
      ...['-accel', 'tcg', '-cpu', processor, '-smp', '1', '-m', `${options.memoryMib}M`],
      ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
      ...['-kernel', image.kernel, '-initrd', image.initrd, '-append', kernelWords],
      ...['-serial', `file:${said.console}`],
      ...disk('root', image.root, 'snapshot=on,cache=unsafe'),
      ...disk('run', files.run, 'cache=unsafe'),
      ...disk('modules', modules, 'snapshot=on,cache=unsafe'),
      ...disk('scratch', files.scratch, 'cache=unsafe'),
      ...(options.keepAs === undefined ? [] : disk('kept', kept, 'cache=unsafe')),
      ...Object.entries(options.disks ?? {}).flatMap(([id, file]) => disk(id, file, 'cache=writeback')),
      ...Object.entries(options.images ?? {}).flatMap(([id, file]) => disk(id, file, 'snapshot=on,cache=unsafe')),
      ...(options.link === undefined ? [] : linkArgv(options.link)),
      ...['-device', 'virtio-serial-pci'],
      ...port('output', 'stdio,signal=off'),
      ...port('status', `file,path=${said.status}`),
      ...port('results', `file,path=${said.results}`),
    ]
    const started = (pid: number | undefined): ProcessRef | null => {
      const ref = runs(pid)
      if (ref !== null) writeRef(join(directory, 'qemu.json'), ref)
      return ref
    }
    // The kernel talks: QEMU has opened its disks. Without names they go with it, whatever becomes of us.
    const opened = whenWritten(said.console, () => {
      for (const file of Object.values(files)) rmSync(file, { force: true })
    })
    if (options.link !== undefined) await linkReady(options.link)
    await boot(argv, directory, options, started).finally(opened.stop)
    if (options.resultsFile !== undefined && existsSync(said.results)) copyFileSync(said.results, options.resultsFile)
    const status = existsSync(said.status) ? readFileSync(said.status, 'utf8').trim() : ''
    if (/^\d+$/.test(status)) {
      const crash = crashOf(Number(status), tailOf(said.console))
      if (crash !== null) options.onOutput(Buffer.from(`${crash}\n`))
      if (options.keepAs !== undefined) keep(options.keepAs, kept)
      return Number(status)
    }
    if (options.powerCut?.aborted === true) return 128 + constants.signals.SIGKILL
    throw new LabError(`the guest ended before its command did; its console said last: ${tailOf(said.console)}`)
  })
}

const whenWritten = (file: string, then: () => void): { stop: () => void } => {
  const timer = setInterval(() => {
    if (!existsSync(file) || statSync(file).size === 0) return
    clearInterval(timer)
    then()
  }, 500)
  return { stop: () => clearInterval(timer) }
}

const boot = async (
  argv: readonly string[],
  directory: string,
  options: GuestOptions,
  started: (pid: number | undefined) => ProcessRef | null,
): Promise<void> => {
  // It ends with us, however that happens.
  const argvBound = ['--pdeathsig', 'KILL', '--', 'qemu-system-x86_64', ...argv]
  const child = spawn('setpriv', argvBound, {
    // Never at its end: QEMU would take the port for closed, and who writes to it in the guest would wait for ever.
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, TMPDIR: directory },
  })
  const ended = new Promise<void>((resolve, reject) => {
    child.once('close', () => resolve())
    child.once('error', (error) => reject(new LabError(`QEMU could not be started: ${error.message}`)))
  })
  const ref = started(child.pid)
  const cut = () => ref !== null && signalProcess(ref, 'SIGKILL')
  options.powerCut?.addEventListener('abort', cut, { once: true })
  child.stdout.on('data', options.onOutput)
  const enough = new AbortController()
  const outOfTime = sleepUnless(options.timeoutMs, enough.signal)
  const late = await Promise.race([ended.then(() => false), outOfTime.then(() => true)])
  enough.abort()
  if (!late) return
  cut()
  await ended
  throw new LabError(`the guest did not end within ${options.timeoutMs / 1000} s; it was cut off`)
}

const sleepUnless = async (ms: number, signal: AbortSignal): Promise<void> => {
  const end = performance.now() + ms
  while (!signal.aborted && performance.now() < end) await sleep(Math.min(500, end - performance.now()))
}

const tailOf = (file: string): string =>
  existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n').slice(-8).join(' | ') : '(nothing)'

/** Somebody may be about to say whose it is, or has just taken it away. */
const isYoung = (directory: string): boolean => {
  const found = statSync(directory, { throwIfNoEntry: false })
  return found === undefined || Date.now() - found.mtimeMs < 60_000
}

/** What a run left that was killed: its QEMU, if it lives, and its files. */
const sweepGuests = async (): Promise<void> => {
  if (!existsSync(guests())) return
  for (const name of readdirSync(guests())) {
    const directory = join(guests(), name)
    const owner = readRef(join(directory, 'owner.json'))
    if (owner === null ? isYoung(directory) : isAlive(owner)) continue
    const qemu = readRef(join(directory, 'qemu.json'))
    if (qemu !== null) {
      signalProcess(qemu, 'SIGKILL')
      await waitGone(qemu, 'QEMU')
    }
    rmSync(directory, { recursive: true, force: true })
  }
}
