import { constants } from 'node:os'
import { Command, InvalidArgumentError } from 'commander'
import { LabError } from './command.ts'
import type { LabHost } from './host.ts'
import { type ImageName, imageNames } from './images/images.ts'
import { Lab, type LabOptions } from './lab.ts'
import { labNames } from './state.ts'

const wholeNumber = (text: string): number => {
  if (/^\d+$/.test(text)) return Number(text)
  throw new InvalidArgumentError('a whole number is needed')
}

const images = (text: string): ImageName[] =>
  text.split(',').map((each) => {
    const name = imageNames.find((known) => known === each)
    if (name === undefined) throw new InvalidArgumentError(`images are ${imageNames.join(', ')}`)
    return name
  })

const poolKind = (text: string): 'btrfs' | 'loop' => {
  if (text === 'btrfs' || text === 'loop') return text
  throw new InvalidArgumentError('it is btrfs or loop')
}

const find = (name: string): Lab => {
  const lab = Lab.find(name)
  if (lab === null) throw new LabError(`there is no lab ${name}; npm run lab -- up brings it up`)
  return lab
}

const describe = async (host: LabHost): Promise<string> => {
  if (!host.isUp) return `${host.name}  ${host.address}  down`
  const [engine, vold] = await Promise.all(
    [host.engine, host.vold].map(async (daemon) => {
      if (daemon.process === null) return 'not running'
      const status = await daemon.health()
      const word = status === 200 ? 'up' : status === null ? 'does not answer' : 'up but not well'
      return `${word} (pid ${daemon.process.pid})`
    }),
  )
  return `${host.name}  ${host.address}  docker ${engine}  vold ${vold}`
}

/** Runs a command in a host on our own terminal and ends as it does. */
const become = async (host: LabHost, argv: readonly string[]): Promise<void> => {
  const child = host.spawn(argv, 'inherit', { PS1: `${host.name}:\\w# ` })
  // The terminal tells the command itself.
  for (const signal of ['SIGINT', 'SIGQUIT', 'SIGTSTP'] as const) process.on(signal, () => {})
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.on(signal, () => host.signal(child, signal))
  process.exitCode = await new Promise<number>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve(code ?? 128 + constants.signals[signal ?? 'SIGKILL']))
  })
}

const program = new Command('npm run lab --')
  .description('Real Docker hosts on this machine, each with a vold. Needs root.')
  .option('--name <name>', 'which lab', 'lab')
  .enablePositionalOptions()

interface UpOptions {
  readonly hosts: number
  readonly subnet: string
  readonly vold: boolean
  readonly poolSize?: number
  readonly poolKind: 'btrfs' | 'loop'
  readonly images: ImageName[]
}

const labName = (): string => program.opts<{ name: string }>().name

program
  .command('up')
  .description('brings the lab up from nothing; what is left of an earlier one is taken down first')
  .option('--hosts <n>', 'how many', wholeNumber, 2)
  .option('--subnet <a.b.c>', 'first three numbers of the /24 between them', '10.77.0')
  .option('--no-vold', 'hosts with Docker only')
  .option('--pool-size <bytes>', 'size of a sparse pool at /srv/pool (default: vold makes its own)', wholeNumber)
  .option('--pool-kind <kind>', 'what that pool is: btrfs or loop', poolKind, 'btrfs')
  .option('--images <list>', 'images to load', images, imageNames)
  .action(async (options: UpOptions) => {
    const given: LabOptions = {
      name: labName(),
      hosts: options.hosts,
      subnet: options.subnet,
      vold: options.vold,
      images: options.images,
      owned: false,
      poolKind: options.poolKind,
      ...(options.poolSize === undefined ? {} : { poolBytes: options.poolSize }),
    }
    const lab = await Lab.up(given)
    for (const host of lab.hosts) console.log(await describe(host))
  })

program
  .command('down')
  .description('leaves no process, namespace, mount, loop device, cgroup or file of the lab')
  .action(() => Lab.down(labName()))

program
  .command('status')
  .description('hosts, addresses, engine and vold')
  .action(async () => {
    const lab = Lab.find(labName())
    if (lab === null) {
      const others = labNames()
      console.log(`lab ${labName()} is down${others.length === 0 ? '' : `; there are: ${others.join(', ')}`}`)
      return
    }
    for (const host of lab.hosts) console.log(await describe(host))
  })

program
  .command('shell')
  .argument('<host>')
  .description('a shell on a host')
  .action((host: string) => become(find(labName()).host(host), ['bash', '--norc', '-i']))

program
  .command('exec')
  .argument('<host>')
  .argument('<command...>')
  .passThroughOptions()
  .description('runs a command on a host and ends with its exit status')
  .action((host: string, argv: string[]) => {
    // commander leaves a -- that follows the host in place.
    return become(find(labName()).host(host), argv[0] === '--' ? argv.slice(1) : argv)
  })

try {
  await program.parseAsync()
} catch (error) {
  if (!(error instanceof LabError)) throw error
  console.error(`lab: ${error.message}`)
  process.exitCode = 1
}
