import type { Moment } from './process.ts'
import { runScenario } from './run.ts'
import { type Act, calm, type Scenario, type Strike } from './scenario.ts'

/** A course of events without chance for trouble, in which every step is to be struck in turn. */
interface Course {
  readonly owner: number
  readonly idle?: boolean
  readonly group?: boolean
  readonly twoPools?: true
  readonly sharedDisks?: true
  readonly acts: readonly { readonly atMs: number; readonly act: Act }[]
  readonly stormMs?: number
  /** Steps before the first one of that name are left alone: another course strikes them. */
  readonly from?: RegExp
  /** What goes wrong in any case, at the first step of that name. */
  readonly first?: { readonly at: RegExp; readonly victim: number; readonly downMs: number }
}

const move = (to: number | 'otherPool', quiesce: 'stop' | 'pause'): Act => ({
  kind: 'move',
  to,
  quiesce,
  containers: 'move',
})

const courses: Readonly<Record<string, Course>> = {
  stop: { owner: 1, acts: [{ atMs: 0, act: move(2, 'stop') }] },
  pause: { owner: 1, acts: [{ atMs: 0, act: move(2, 'pause') }] },
  fromControl: { owner: 0, acts: [{ atMs: 0, act: move(1, 'stop') }] },
  toControl: { owner: 1, acts: [{ atMs: 0, act: move(0, 'pause') }] },
  back: {
    owner: 1,
    acts: [
      { atMs: 0, act: move(2, 'stop') },
      { atMs: 5_000, act: move(1, 'stop') },
    ],
    from: /store\.finishMove/,
  },
  /** The target dies once it is prepared, so that the move is undone. */
  undone: {
    owner: 1,
    acts: [{ atMs: 0, act: move(2, 'stop') }],
    from: /record prepared/,
    first: { at: /record prepared/, victim: 2, downMs: 3_000 },
  },
  /** The control role dies after the source has released, for so long that the source settles it with the target. */
  released: {
    owner: 1,
    stormMs: 50_000,
    acts: [{ atMs: 0, act: move(2, 'pause') }],
    from: /record released/,
    first: { at: /store\.commitMove/, victim: 0, downMs: 42_000 },
  },
  /** The target dies right after the commit, and people say that it is lost for good. When it is back all the same it has nothing to say. */
  lost: {
    owner: 1,
    stormMs: 22_000,
    acts: [
      { atMs: 0, act: move(2, 'stop') },
      { atMs: 6_000, act: { kind: 'cancel', targetLost: true } },
      { atMs: 12_000, act: { kind: 'cancel', targetLost: true } },
    ],
    from: /store\.commitMove/,
    first: { at: /store\.commitMove/, victim: 2, downMs: 18_000 },
  },
  group: { owner: 1, group: true, acts: [{ atMs: 0, act: move(2, 'pause') }], from: /record sealed/ },
  /** As `released`, with one of the two released and the other only proven. */
  groupReleased: {
    owner: 1,
    group: true,
    stormMs: 50_000,
    acts: [{ atMs: 0, act: move(2, 'stop') }],
    from: /record released/,
    first: { at: /record released/, victim: 0, downMs: 42_000 },
  },
  within: { owner: 1, twoPools: true, acts: [{ atMs: 0, act: move('otherPool', 'stop') }] },
  withinControl: { owner: 0, twoPools: true, acts: [{ atMs: 0, act: move('otherPool', 'pause') }] },
  withinBack: {
    owner: 1,
    twoPools: true,
    acts: [
      { atMs: 0, act: move('otherPool', 'pause') },
      { atMs: 5_000, act: move('otherPool', 'stop') },
    ],
    from: /store\.finishMove/,
  },
  /** The control role dies after the source has released: the host settles it with itself. */
  withinReleased: {
    owner: 1,
    twoPools: true,
    stormMs: 50_000,
    acts: [{ atMs: 0, act: move('otherPool', 'pause') }],
    from: /record released/,
    first: { at: /store\.commitMove/, victim: 0, downMs: 42_000 },
  },
  handover: { owner: 1, sharedDisks: true, stormMs: 11_000, acts: [{ atMs: 1, act: move(2, 'stop') }] },
  /** The control role dies after the source has let go, for so long that the source settles it with the target. */
  handoverReleased: {
    owner: 1,
    sharedDisks: true,
    stormMs: 60_000,
    acts: [{ atMs: 1, act: move(2, 'pause') }],
    from: /record released/,
    first: { at: /store\.commitMove/, victim: 0, downMs: 42_000 },
  },
  /** The target dies with the disk attached, and people say that it is lost for good. */
  handoverLost: {
    owner: 1,
    sharedDisks: true,
    stormMs: 40_000,
    acts: [
      { atMs: 1, act: move(2, 'stop') },
      { atMs: 15_000, act: { kind: 'cancel', targetLost: true } },
      { atMs: 20_000, act: { kind: 'cancel', targetLost: true } },
    ],
    from: /handover\.attach/,
    first: { at: /handover\.attach/, victim: 2, downMs: 36_000 },
  },
  pull: { owner: 1, idle: true, acts: [{ atMs: 0, act: { kind: 'run', host: 2 } }] },
}
export const courseNames = Object.keys(courses)

const moments: readonly Moment[] = ['before', 'during', 'after']
const kinds = ['kill', 'power'] as const

const scenarioOf = (name: string, course: Course, strikes: readonly Strike[]): Scenario => ({
  label:
    strikes.length === 0
      ? name
      : `--step ${name}:${strikes.map(({ step, moment, kind }) => `${step}:${moment}:${kind}`).at(-1)}`,
  seed: 7,
  hosts: 3,
  owner: course.owner,
  writer:
    course.idle === true ? null : { policy: 'always', autoRemove: false, imageEverywhere: true, stopTimeoutS: null },
  ...(course.group === true ? { group: true } : {}),
  ...(course.twoPools === true ? { twoPools: true } : {}),
  ...(course.sharedDisks === true ? { sharedDisks: true } : {}),
  acts: course.acts,
  strikes,
  pokes: [],
  weather: calm,
  stormMs: course.stormMs ?? 9_000,
  sickOn: null,
})

interface Undisturbed {
  readonly course: Course
  readonly first: readonly Strike[]
  readonly names: readonly string[]
  readonly from: number
}

const find = (names: readonly string[], pattern: RegExp): number => {
  const found = names.findIndex((name) => pattern.test(name))
  if (found < 0) throw new Error(`no step is called ${pattern}`)
  return found + 1
}

/** How the course goes when nothing else happens. */
const undisturbed = async (name: string): Promise<Undisturbed> => {
  const course = courses[name]
  if (course === undefined) throw new Error(`no course ${name}; there are ${courseNames.join(', ')}`)
  let first: Strike[] = []
  let { violation, stepNames } = await runScenario(scenarioOf(name, course, []), true)
  const from = course.from === undefined ? 1 : find(stepNames, course.from)
  if (course.first !== undefined) {
    const { at, victim, downMs } = course.first
    first = [{ step: find(stepNames, at), moment: 'after', victim, kind: 'kill', downMs, oldStore: false }]
    ;({ violation, stepNames } = await runScenario(scenarioOf(name, course, first), true))
  }
  if (violation !== null) throw new Error(`course ${name} fails undisturbed: ${violation}`)
  return { course, first, names: stepNames, from }
}

export interface StepTask {
  readonly scenario: Scenario
  readonly stepName: string
}

/** Every step of the course, struck before, during and after it. `only`: what is struck with. */
export const everyStep = async (name: string, only: readonly Strike['kind'][] = kinds): Promise<StepTask[]> => {
  const { course, first, names, from } = await undisturbed(name)
  const tasks: StepTask[] = []
  for (let step = from; step <= names.length; step += 1) {
    if (first.some((other) => other.step === step)) continue
    for (const moment of moments) {
      for (const kind of only) {
        const strike: Strike = { step, moment, kind, victim: 'self', downMs: 700, oldStore: false }
        tasks.push({ scenario: scenarioOf(name, course, [...first, strike]), stepName: names[step - 1] ?? '' })
      }
    }
  }
  return tasks
}

/** As its label names it: `stop:12:during:kill`. */
export const stepScenario = async (text: string): Promise<Scenario> => {
  const [name = '', step, moment, kind] = text.split(':')
  const { course, first } = await undisturbed(name)
  const chosenMoment = moments.find((other) => other === moment)
  const chosenKind = kinds.find((other) => other === kind)
  if (chosenMoment === undefined || chosenKind === undefined || !Number.isInteger(Number(step))) {
    throw new Error(`${text} names no step; write it as stop:12:during:kill`)
  }
  const strike: Strike = {
    step: Number(step),
    moment: chosenMoment,
    kind: chosenKind,
    victim: 'self',
    downMs: 700,
    oldStore: false,
  }
  return scenarioOf(name, course, [...first, strike])
}
