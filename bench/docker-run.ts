import type { LabHost } from '../lab/host.ts'
import { type Bench, withLab } from './context.ts'
import { figure, table } from './report.ts'
import { median, shuffled, spreadOf } from './statistics.ts'

const drivers = ['drover', 'local'] as const
type Driver = (typeof drivers)[number]

const timeRun = async (host: LabHost, driver: Driver): Promise<number> => {
  const startedAt = performance.now()
  await host.docker('run', '--rm', '--network', 'none', '-v', `run-${driver}:/data`, 'busybox', 'true')
  return performance.now() - startedAt
}

/** `docker run --rm` with a volume of ours against one of the engine's own driver, in pairs, the order drawn anew. */
export const dockerRun: Bench = {
  name: 'docker-run',
  run: async (context) => {
    const pairs = context.quick ? 5 : 40
    const times: Record<Driver, number[]> = { drover: [], local: [] }
    await withLab(context, { hosts: 1, poolBytes: 2 ** 30 }, async ({ host1 }) => {
      for (const driver of drivers) {
        await host1.docker('volume', 'create', '--driver', driver, `run-${driver}`)
        await timeRun(host1, driver)
      }
      for (let pair = 0; pair < pairs; pair += 1) {
        for (const driver of shuffled(drivers)) times[driver].push(await timeRun(host1, driver))
      }
    })
    const ratios = times.drover.map((ms, index) => ms / (times.local[index] ?? Number.NaN))
    const ratio = median(times.drover) / median(times.local)
    return {
      title: '`docker run --rm` with a volume',
      body: table(
        ['driver', 'ms', 'runs'],
        drivers.map((driver) => [driver, figure(spreadOf(times[driver])), String(times[driver].length)]),
      ),
      verdicts: [
        {
          what: `\`docker run --rm\`, driver drover against local, ${pairs} pairs`,
          measured: `${ratio.toFixed(3)} of its median time; pairs ${figure(spreadOf(ratios), 2)}`,
          goal: '≤ 1.08',
          holds: ratio <= 1.08,
        },
      ],
    }
  },
}
