import pLimit from 'p-limit'
import { type Bench, withLab } from './context.ts'
import { SocketClient } from './http.ts'
import { figure, table } from './report.ts'
import { spreadOf } from './statistics.ts'

const commands = {
  '`docker volume ls`': ['docker', 'volume', 'ls', '--quiet'],
  '`vol ls`': ['vol', 'ls'],
} as const
const atOnce = 8

/** How long lists take with a thousand volumes. */
export const manyVolumes: Bench = {
  name: 'many-volumes',
  run: async (context) => {
    const count = context.quick ? 50 : 1000
    const repetitions = context.quick ? 3 : 10
    const times = new Map<string, number[]>(Object.keys(commands).map((name) => [name, []]))
    const creations: number[] = []
    let createMs = 0
    await withLab(context, { poolBytes: 4 * 2 ** 30 }, async ({ host1 }) => {
      const api = new SocketClient(host1.path('/run/drover/vold.sock'))
      const limit = pLimit(atOnce)
      const startedAt = performance.now()
      try {
        await Promise.all(
          Array.from({ length: count }, (_, index) =>
            limit(async () => {
              const { status, text, ms } = await api.post(
                '/v1/volumes',
                { name: `many-${index}` },
                { 'content-type': 'application/json' },
              )
              if (status !== 201) throw new Error(`volume ${index} was answered ${status}: ${text}`)
              creations.push(ms)
            }),
          ),
        )
      } finally {
        limit.clearQueue()
        api.close()
      }
      createMs = performance.now() - startedAt
      context.say(`${count} volumes created in ${(createMs / 1000).toFixed(1)} s`)
      for (let repetition = 0; repetition < repetitions; repetition += 1) {
        for (const [name, argv] of Object.entries(commands)) {
          const before = performance.now()
          const { stdout } = await host1.exec(argv)
          times.get(name)?.push(performance.now() - before)
          const listed = stdout.split('\n').filter((line) => line.includes('many-')).length
          if (listed !== count) throw new Error(`${argv.join(' ')} lists ${listed} of ${count} volumes`)
        }
      }
    })
    const lists = [...times].map(([name, values]) => ({ name, spread: spreadOf(values) }))
    return {
      title: `${count} volumes`,
      body: [
        table(
          ['command', 'ms'],
          lists.map(({ name, spread }) => [name, figure(spread)]),
        ),
        '',
        `Created over the API, ${atOnce} at once: ${(createMs / 1000).toFixed(1)} s, each ${figure(spreadOf(creations))} ms.`,
      ].join('\n'),
      verdicts: lists.map(({ name, spread }) => ({
        what: `${name} with ${count} volumes`,
        measured: `${figure(spread)} ms`,
        goal: '< 1000 ms',
        holds: spread.median < 1000,
      })),
    }
  },
}
