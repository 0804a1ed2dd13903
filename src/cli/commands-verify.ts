import type { Command } from 'commander'
import type { VerificationView } from '../control/control.ts'
import { DroverError } from '../domain/errors.ts'
import { checkVolumeName } from '../domain/names.ts'
import { formatSize } from '../domain/units.ts'
import { type Context, segment, show } from './context.ts'
import { failureOf } from './failure.ts'
import { withPatience } from './patience.ts'
import type { Run } from './program.ts'
import { receipt } from './receipt.ts'

const lookMs = 300
const patienceMs = 60_000
const tellEveryMs = 5_000

/** verify */
export const addVerifyCommand = (program: Command, run: Run): void => {
  program
    .command('verify')
    .description('compare the content of a volume with that of its replicas, byte for byte')
    .argument('<name>', '', checkVolumeName)
    .option('--discard', 'instead, remove the replicas that were found to differ', false)
    .action(
      run(async (context, name: string, options: { discard: boolean }) => {
        const path = `/v1/volumes/${segment(name)}/verification`
        if (!options.discard) return verify(context, path)
        const { hosts } = await context.client.call<{ hosts: string[] }>('POST', path, { discard: true })
        const told =
          hosts.length === 0
            ? `no replica of ${name} differs any more; its snapshots are bases again`
            : `removed the replica of ${name} on ${hosts.join(', ')}`
        show(context, { name, discarded: hosts }, () => told)
        return 0
      }),
    )
}

const verify = async (context: Context, path: string): Promise<number> => {
  let view = await context.client.call<VerificationView>('POST', path, {})
  let toldAt = context.clock.monotonic()
  while (view.state === 'running') {
    await context.clock.sleep(lookMs)
    view = await withPatience(context.clock, patienceMs, () => look(context, path))
    if (context.json || context.clock.monotonic() - toldAt < tellEveryMs) continue
    toldAt = context.clock.monotonic()
    for (const { host, progress } of view.replicas) {
      if (progress !== null) context.err(`${view.volume}: ${host}: ${formatSize(progress.bytes)} compared`)
    }
  }
  return endOf(context, view)
}

/** A control role that was started anew knows of no verification; asked again, the hosts go on where they were. */
const look = async (context: Context, path: string): Promise<VerificationView> => {
  try {
    return await context.client.call<VerificationView>('GET', path)
  } catch (error) {
    if (failureOf(error).code !== 'NO_SUCH_VERIFICATION') throw error
    return context.client.call<VerificationView>('POST', path, {})
  }
}

const endOf = (context: Context, view: VerificationView): number => {
  const { volume, owner, replicas, state } = view
  if (state === 'equal') {
    show(context, view, () =>
      replicas.map(({ host, result }) => `${volume}: ${owner} and ${host}: ${result === null ? '' : receipt(result)}`),
    )
    return 0
  }
  const details = { verification: view }
  const bad = replicas.find(({ result }) => result?.state === state)
  if (state === 'failed' || bad?.result == null) {
    throw new DroverError(
      'COMMAND_FAILED',
      `volume ${volume} could not be compared with its replica on host ${bad?.host ?? 'unknown'}: ${bad?.result?.reason ?? 'no reason was given'}`,
      { details },
    )
  }
  const { snapshot, differences } = bad.result
  const list = differences.map(({ path, what }) => `${path} (${what})`).join('; ')
  throw new DroverError(
    'CONTENT_DIFFERS',
    `snapshot ${snapshot} of volume ${volume} is not the same on host ${owner} and host ${bad.host}: ${list || 'the differing name was not found'}; both copies are kept, see docs/operations.md`,
    { details },
  )
}
