import type { Moment } from './process.ts'
import { Random } from './random.ts'

/** Something dies when the step of that number, counted over all hosts since the storm began, is reached. */
export interface Strike {
  readonly step: number
  readonly moment: Moment
  /** Host number; `self`: whoever takes the step. */
  readonly victim: number | 'self'
  readonly kind: 'kill' | 'power' | 'engine'
  /** Until it is started again, in ms. */
  readonly downMs: number
  /** On the control host: an old copy of the store is put in place meanwhile. */
  readonly oldStore: boolean
}

export type Act =
  | {
      readonly kind: 'move'
      /** A host, or the other pool of the one that has it. */
      readonly to: number | 'otherPool'
      readonly quiesce: 'stop' | 'pause'
      readonly containers: 'move' | 'stop'
      readonly maxDowntimeMs?: number
    }
  /** `targetLost`: they say that the target of a committed move is lost for good. */
  | { readonly kind: 'cancel'; readonly targetLost?: boolean }
  /** `docker start`, `unpause`, `restart` of the writer by somebody impatient. */
  | { readonly kind: 'start' | 'unpause' | 'stopStart'; readonly host: number }
  /** `docker run` of an own container on that host: pulls an idle volume. */
  | { readonly kind: 'run'; readonly host: number }
  | { readonly kind: 'part'; readonly one: number; readonly other: number; readonly ms: number }
  | { readonly kind: 'clock'; readonly host: number; readonly byMs: number }
  | { readonly kind: 'shell'; readonly host: number; readonly ms: number }
  | { readonly kind: 'backUp' }
  /** Somebody writes to the newest snapshot there: it is no base any more. */
  | { readonly kind: 'tamper'; readonly host: number }
  | { readonly kind: Strike['kind']; readonly host: number; readonly downMs: number }

export interface Scenario {
  /** How to run it again. */
  readonly label: string
  readonly seed: number
  readonly hosts: number
  readonly owner: number
  /** Null: nobody uses the volume. */
  readonly writer: {
    readonly policy: string
    readonly autoRemove: boolean
    readonly imageEverywhere: boolean
    readonly stopTimeoutS: number | null
  } | null
  readonly acts: readonly { readonly atMs: number; readonly act: Act }[]
  readonly strikes: readonly Strike[]
  /** Acts that come right when the step of that number is taken: at the worst moment sooner or later. */
  readonly pokes: readonly { readonly step: number; readonly act: Act }[]
  readonly weather: {
    readonly loss: number
    readonly repeat: number
    readonly delayMs: number
    readonly cut: number
    readonly corrupt: number
    readonly failing: number
  }
  readonly stormMs: number
  /** The writer never becomes healthy on this host. */
  readonly sickOn: number | null
  /** Every host has two pools. */
  readonly twoPools?: true
  /** So long a snapshot takes to be whole on every pool, as in a cloud. */
  readonly snapshotMs?: number
  /** Another volume moves with it as one. */
  readonly group?: boolean
  /** Live datasets are disks that every host can attach: a move hands them over, and copies nothing. */
  readonly sharedDisks?: true
  /** A rule is broken on purpose: that must be found. */
  readonly flaw?: Flaw
}

export type Flaw = 'proof' | 'promote' | 'mount' | 'detach'

export const calm: Scenario['weather'] = { loss: 0, repeat: 0, delayMs: 20, cut: 0, corrupt: 0, failing: 0 }

const policies = ['always', 'unless-stopped', 'on-failure', 'no'] as const
const hour = 3_600_000

/** What a seed stands for. */
export const scenarioOf = (seed: number): Scenario => {
  const random = new Random(seed)
  const hosts = random.chance(0.3) ? 2 : 3
  const host = () => random.between(0, hosts - 1)
  const owner = host()
  const isIdle = random.chance(0.12)
  const acts: { atMs: number; act: Act }[] = []
  const stormMs = random.between(6_000, 40_000)
  const some = () => random.between(0, stormMs)

  const elsewhere = () => random.pick([...Array(hosts).keys()].filter((index) => index !== owner))
  if (isIdle) {
    acts.push({ atMs: random.between(0, 300), act: { kind: 'run', host: elsewhere() } })
    if (random.chance(0.4)) acts.push({ atMs: random.between(0, 3_000), act: { kind: 'run', host: host() } })
  }
  for (let index = random.between(isIdle ? 0 : 1, 3); index > 0; index -= 1) {
    const first = acts.length === 0
    acts.push({
      atMs: first ? random.between(0, 300) : some(),
      act: {
        kind: 'move',
        to: first ? elsewhere() : host(),
        quiesce: random.chance(0.6) ? 'stop' : 'pause',
        containers: random.chance(0.88) ? 'move' : 'stop',
        ...(random.chance(0.1) ? { maxDowntimeMs: random.pick([500, 5_000]) } : {}),
      },
    })
  }
  if (random.chance(0.3)) acts.push({ atMs: random.between(0, 6_000), act: { kind: 'cancel' } })
  for (let index = random.chance(0.35) ? random.between(1, 3) : 0; index > 0; index -= 1) {
    acts.push({
      atMs: random.between(0, 8_000),
      act: { kind: random.pick(['start', 'unpause', 'stopStart']), host: host() },
    })
  }
  for (let index = random.chance(0.4) ? random.between(1, 3) : 0; index > 0; index -= 1) {
    const one = host()
    const other = (one + random.between(1, hosts - 1)) % hosts
    acts.push({ atMs: some(), act: { kind: 'part', one, other, ms: random.pick([300, 2_000, 10_000, 45_000]) } })
  }
  if (random.chance(0.25)) {
    const byMs = random.pick([-30 * 24 * hour, -hour, -60_000, 60_000, hour, 25 * hour, 400 * 24 * hour])
    acts.push({ atMs: some(), act: { kind: 'clock', host: host(), byMs } })
  }
  if (random.chance(0.1))
    acts.push({ atMs: some(), act: { kind: 'shell', host: host(), ms: random.between(100, 20_000) } })
  if (random.chance(0.15)) acts.push({ atMs: some(), act: { kind: 'tamper', host: host() } })
  for (let index = random.chance(0.35) ? random.between(1, 3) : 0; index > 0; index -= 1) {
    acts.push({
      atMs: some(),
      act: { kind: random.pick(['kill', 'kill', 'power', 'engine']), host: host(), downMs: downMs(random) },
    })
  }
  const oldStore = random.chance(0.1)
  if (oldStore) {
    for (let index = 0; index < 4; index += 1) acts.push({ atMs: some() / 3, act: { kind: 'backUp' } })
  }
  const strikes: Strike[] = []
  for (let index = random.chance(0.85) ? random.between(1, 4) : 0; index > 0; index -= 1) {
    strikes.push({
      step: random.between(1, 260),
      moment: random.pick(['before', 'during', 'after']),
      victim: random.chance(0.6) ? 'self' : host(),
      kind: random.pick(['kill', 'kill', 'kill', 'power', 'engine']),
      downMs: downMs(random),
      oldStore: oldStore && random.chance(0.6),
    })
  }
  const pokes: { step: number; act: Act }[] = []
  for (let index = random.chance(0.45) ? random.between(1, 4) : 0; index > 0; index -= 1) {
    const kind = random.pick(['unpause', 'unpause', 'start', 'stopStart', 'cancel', 'shell', 'part'] as const)
    const step = random.between(20, 220)
    if (kind === 'cancel') pokes.push({ step, act: { kind } })
    else if (kind === 'shell') pokes.push({ step, act: { kind, host: host(), ms: random.between(10, 20_000) } })
    else if (kind === 'part') {
      const one = host()
      const ms = random.pick([300, 5_000, 45_000])
      pokes.push({ step, act: { kind, one, other: (one + random.between(1, hosts - 1)) % hosts, ms } })
    } else pokes.push({ step, act: { kind, host: owner } })
  }
  const bad = (most: number) => (random.chance(0.3) ? random.next() * most : 0)
  return {
    label: `--seed ${seed}`,
    seed,
    hosts,
    owner,
    writer: isIdle
      ? null
      : {
          policy: random.pick(policies),
          autoRemove: random.chance(0.1),
          imageEverywhere: random.chance(0.8),
          stopTimeoutS: random.chance(0.5) ? null : random.between(0, 12),
        },
    acts: acts.toSorted((one, other) => one.atMs - other.atMs),
    strikes,
    pokes,
    weather: {
      loss: bad(0.15),
      repeat: bad(0.3),
      delayMs: random.chance(0.3) ? random.between(50, 8_000) : 20,
      cut: bad(0.4),
      corrupt: bad(0.2),
      failing: bad(0.06),
    },
    stormMs,
    sickOn: random.chance(0.1) ? host() : null,
  }
}

/** The same storm over a group of two volumes. */
export const groupScenarioOf = (seed: number): Scenario => {
  const scenario = scenarioOf(seed)
  return {
    ...scenario,
    label: `--group-seed ${seed}`,
    group: true,
    writer: scenario.writer ?? { policy: 'always', autoRemove: false, imageEverywhere: true, stopTimeoutS: null },
    acts: scenario.acts.filter(({ act }) => act.kind !== 'run'),
  }
}

/** The same storm where every host has two pools, and half of the moves stay on their host. */
export const poolsScenarioOf = (seed: number): Scenario => {
  const scenario = scenarioOf(seed)
  const random = new Random(seed + 1)
  return {
    ...scenario,
    label: `--pools-seed ${seed}`,
    twoPools: true,
    acts: scenario.acts.map(({ atMs, act }) => ({
      atMs,
      act: act.kind === 'move' && random.chance(0.6) ? { ...act, to: 'otherPool' as const } : act,
    })),
  }
}

/** The same storm over disks that all hosts reach. */
export const handoverScenarioOf = (seed: number): Scenario => ({
  ...scenarioOf(seed),
  label: `--handover-seed ${seed}`,
  sharedDisks: true,
})

const downMs = (random: Random): number =>
  random.chance(0.6) ? random.between(50, 2_000) : random.between(2_000, 50_000)

/** The same storm where snapshots take their time: less than one call waits for them, or more. */
export const slowScenarioOf = (seed: number): Scenario => ({
  ...scenarioOf(seed),
  label: `--slow-seed ${seed}`,
  snapshotMs: seed % 2 === 0 ? 3_000 : 30_000,
})
