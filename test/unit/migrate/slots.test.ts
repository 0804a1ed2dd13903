import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Slots } from '../../../src/migrate/queue/slots.ts'

const never = new AbortController().signal
const turns = async () => {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve()
}

interface Job {
  readonly order: string
  readonly hosts: readonly string[]
  readonly slots: number
}

const hostNames = ['a', 'b', 'c']
const jobs = fc
  .array(
    fc.record({
      hosts: fc.shuffledSubarray(hostNames, { minLength: 2, maxLength: 2 }),
      slots: fc.integer({ min: 1, max: 6 }),
    }),
    { minLength: 1, maxLength: 40 },
  )
  .map((all) => all.map((job, index): Job => ({ ...job, order: String(index).padStart(3, '0') })))

test('any jobs between three hosts: all are granted, never more than the limit, and none waits for a later one', async () => {
  await fc.assert(
    fc.asyncProperty(
      jobs,
      fc.integer({ min: 1, max: 4 }),
      fc.infiniteStream(fc.nat()),
      async (all, perHost, choices) => {
        const slots = new Slots(perHost)
        const used = new Map<string, number>()
        const running: { job: Job; giveBack: () => void }[] = []
        const need = ({ slots: wanted }: Job) => Math.min(wanted, perHost)
        const use = (job: Job, sign: number) => {
          for (const host of job.hosts) used.set(host, (used.get(host) ?? 0) + sign * need(job))
        }
        let granted = 0
        for (const job of all) {
          void slots.acquire(job, never).then((giveBack) => {
            granted += 1
            use(job, 1)
            running.push({ job, giveBack })
          })
        }
        for (let ended = 0; ended < all.length; ended += 1) {
          await turns()
          for (const host of hostNames) expect(used.get(host) ?? 0).toBeLessThanOrEqual(perHost)
          // Who is first of all has what it needs as soon as its hosts are free of those that run: no deadlock.
          const [first] = slots.waiting()
          const waiting = all.filter(({ order }) => slots.waiting().includes(order))
          const head = waiting.find(({ order }) => order === first)
          if (head !== undefined) {
            expect(head.hosts.some((host) => (used.get(host) ?? 0) + need(head) > perHost)).toBe(true)
          }
          // Nobody waits for anything but those that run and those before it.
          expect(running.length).toBeGreaterThan(0)
          const [next] = running.splice((choices.next().value ?? 0) % running.length, 1)
          if (next === undefined) throw new Error('nothing runs')
          use(next.job, -1)
          next.giveBack()
        }
        await turns()
        expect(granted).toBe(all.length)
        expect(slots.waiting()).toEqual([])
      },
    ),
    { numRuns: 300 },
  )
})

test('an endless row of later ones does not keep an earlier one from its turn', async () => {
  const slots = new Slots(2)
  const running = [
    await slots.acquire({ hosts: ['a', 'b'], slots: 1, order: '0' }, never),
    await slots.acquire({ hosts: ['b', 'c'], slots: 1, order: '1' }, never),
  ]
  let granted = false
  void slots.acquire({ hosts: ['a', 'b'], slots: 2, order: '2' }, never).then(() => {
    granted = true
  })
  let behind = 0
  for (let index = 3; index < 20; index += 1) {
    void slots.acquire({ hosts: ['b', 'c'], slots: 1, order: `3 ${index}` }, never).then(() => {
      behind += 1
    })
  }
  for (const giveBack of running) giveBack()
  await turns()
  expect(granted).toBe(true)
  expect(behind).toBe(0)
})

test('a later one goes ahead where it takes nothing from an earlier one', async () => {
  const slots = new Slots(1)
  const giveBack = await slots.acquire({ hosts: ['a', 'b'], slots: 1, order: '0' }, never)
  const second = slots.acquire({ hosts: ['b', 'c'], slots: 1, order: '1' }, never)
  let third = false
  void slots.acquire({ hosts: ['a', 'c'], slots: 1, order: '2' }, never).then(() => {
    third = true
  })
  ;(await slots.acquire({ hosts: ['d', 'e'], slots: 1, order: '3' }, never))()
  await turns()
  expect([slots.waiting(), third]).toEqual([['1', '2'], false])
  giveBack()
  ;(await second)()
  await turns()
  expect(third).toBe(true)
})

test('whoever gives up waiting leaves its place to the next, and what is taken without asking is waited for', async () => {
  const slots = new Slots(1)
  const giveBack = slots.take({ hosts: ['a', 'b'], slots: 1, order: '0' })
  const impatient = new AbortController()
  const first = slots.acquire({ hosts: ['a', 'b'], slots: 1, order: '1' }, impatient.signal)
  const second = slots.acquire({ hosts: ['a', 'b'], slots: 1, order: '2' }, never)
  const urgent = slots.take({ hosts: ['a', 'b'], slots: 1, order: '3' })
  impatient.abort(new Error('no more'))
  await expect(first).rejects.toThrow('no more')
  giveBack()
  giveBack()
  await turns()
  expect(slots.waiting()).toEqual(['2'])
  urgent()
  ;(await second)()
  expect(slots.waiting()).toEqual([])
})
