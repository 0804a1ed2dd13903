import { randomBytes } from 'node:crypto'
import { type Bench, withLab } from './context.ts'
import { SocketClient } from './http.ts'
import { table } from './report.ts'
import { quantile } from './statistics.ts'

const calls = ['Mount', 'Unmount'] as const
type Call = (typeof calls)[number]

/** What the engine waits for when a container starts and ends, asked of the plugin's socket as the engine does. */
export const pluginCalls: Bench = {
  name: 'plugin-calls',
  run: async (context) => {
    const count = context.quick ? 20 : 300
    const times: Record<Call, number[]> = { Mount: [], Unmount: [] }
    await withLab(context, { poolBytes: 2 ** 30 }, async ({ host1 }) => {
      await host1.vol('create', 'calls')
      const plugin = new SocketClient(host1.path('/run/docker/plugins/drover.sock'))
      const ask = async (call: Call, id: string): Promise<number> => {
        const { status, text, ms } = await plugin.post(`/VolumeDriver.${call}`, { Name: 'calls', ID: id })
        if (status !== 200) throw new Error(`${call} was answered ${status}: ${text}`)
        return ms
      }
      try {
        // The first Mount after a boot asks the other hosts; it is not what is measured.
        for (let index = -5; index < count; index += 1) {
          const id = randomBytes(32).toString('hex')
          for (const call of calls) {
            const ms = await ask(call, id)
            if (index >= 0) times[call].push(ms)
          }
        }
      } finally {
        plugin.close()
      }
    })
    const row = (call: Call) => [0.5, 0.99, 1].map((share) => quantile(times[call], share).toFixed(1))
    return {
      title: 'Plugin calls for a volume owned here',
      body: table(
        ['call', 'p50, ms', 'p99, ms', 'slowest, ms'],
        calls.map((call) => [call, ...row(call)]),
      ),
      verdicts: calls.map((call) => {
        const p99 = quantile(times[call], 0.99)
        return {
          what: `plugin ${call}, p99 of ${count} calls`,
          measured: `${p99.toFixed(1)} ms (p50 ${quantile(times[call], 0.5).toFixed(1)} ms)`,
          goal: '< 50 ms',
          holds: p99 < 50,
        }
      }),
    }
  },
}
