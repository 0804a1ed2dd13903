import type { Cell, Outcome } from './cell.ts'
import { cannotBe, runCell } from './cell.ts'
import { faults } from './faults.ts'
import { Stage } from './stage.ts'

/** What went wrong on the hosts, as `vold` logged it. */
const evidence = (stage: Stage, since: number): string[] =>
  stage.hosts.flatMap((host) =>
    host.vold
      .log()
      .split('\n')
      .filter((line) => /^\{"level":[456]0/.test(line) && Date.parse(/"time":"([^"]+)"/.exec(line)?.[1] ?? '') >= since)
      .slice(-12)
      .map((line) => `${host.name} ${line.slice(0, 400)}`),
  )

/** The squares of the table in its order. */
export const cellsOf = (
  phases: readonly Cell['phase'][],
  names: readonly string[] | null,
  seeds: readonly number[],
): Cell[] =>
  seeds.flatMap((seed) =>
    faults
      .filter(({ name }) => names === null || names.includes(name))
      .flatMap((fault) => phases.map((phase) => ({ fault, phase, seed }))),
  )

/** Cells that mostly wait, for silences and time-outs of a fault that lasts, and all others. */
const byPace = (cells: readonly Cell[]): { waiting: Cell[]; working: Cell[] } => {
  const waits = ({ fault, phase }: Cell) => fault.mended === 'settled' && fault.notIn(phase) === null
  return { waiting: cells.filter(waits), working: cells.filter((cell) => !waits(cell)) }
}

/**
 * Runs every cell, on as many labs side by side as told; half of them begin with the cells that mostly wait, so that they share
 * the processors with those that work. A lab whose cell failed is taken down and made anew: what it was left in must not be another
 * cell's beginning.
 */
export const runCampaign = async (
  cells: readonly Cell[],
  labs: number,
  told: (outcome: Outcome, evidence: readonly string[]) => void,
): Promise<Outcome[]> => {
  const { waiting, working } = byPace(cells)
  const outcomes: Outcome[] = []
  const work = async (index: number): Promise<void> => {
    let stage: Stage | null = null
    const [first, then] = index % 2 === 0 ? [working, waiting] : [waiting, working]
    const next = () => first.shift() ?? then.shift()
    try {
      for (let cell = next(); cell !== undefined; cell = next()) {
        const since = Date.now()
        const applies = cell.fault.notIn(cell.phase) === null
        if (applies) stage ??= await Stage.up(`torture-${process.pid}-${index}`, `10.79.${index}`)
        const outcome = stage === null || !applies ? cannotBe(cell) : await runCell(stage, cell)
        outcomes.push(outcome)
        if (outcome.result !== 'failed' || stage === null) {
          told(outcome, [])
          continue
        }
        told(outcome, evidence(stage, since))
        if (process.env.DROVER_LAB_KEEP !== undefined) return
        await stage.down()
        stage = null
      }
    } finally {
      if (process.env.DROVER_LAB_KEEP === undefined) await stage?.down()
    }
  }
  await Promise.all(Array.from({ length: labs }, (_, index) => work(index)))
  const order = ({ fault, phase, seed }: Outcome) =>
    cells.findIndex((cell) => cell.fault.name === fault && cell.phase === phase && cell.seed === seed)
  return outcomes.toSorted((one, other) => order(one) - order(other))
}
