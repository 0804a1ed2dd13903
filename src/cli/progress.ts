import { Presets, SingleBar } from 'cli-progress'
import type { MoveView } from '../control/control.ts'
import { formatDuration, formatSize } from '../domain/units.ts'
import type { Context } from './context.ts'

export interface Progress {
  update(move: MoveView): void
  stop(): void
}

/** How far a move is, on standard error: a bar on a terminal, else a line for each phase and round. */
export const createProgress = (context: Context): Progress => {
  if (context.json) return { update() {}, stop() {} }
  return context.terminal ? createBar() : createLines((line) => context.err(line))
}

const rate = (bytesPerSecond: number): string => `${formatSize(bytesPerSecond)}/s`

/** What a move waits for, while its hosts have no slot for it. */
export const waiting = ({ queuedBehind }: MoveView): string | null =>
  queuedBehind === null ? null : `queued${queuedBehind === 0 ? '' : ` behind ${queuedBehind}`}`

const createLines = (err: (line: string) => void): Progress => {
  let phase = ''
  let queued: string | null = null
  let rounds = 0
  let round = 0
  let waitsFor: string | null = null
  return {
    update(move) {
      const queue = waiting(move)
      if (queue !== null && queue !== queued) err(`${move.volumeName}: ${queue}`)
      queued = queue
      if (queue === null && move.phase !== phase && move.state !== 'aborted') {
        phase = move.phase
        const downtime = move.forecast === null ? '' : `, downtime about ${formatDuration(move.forecast.downtimeMs)}`
        err(`${move.volumeName}: ${phase}${phase === 'precopy' ? downtime : ''}`)
      }
      if (move.progress !== null && move.progress.round > round) {
        round = move.progress.round
        err(`${move.volumeName}: round ${round}: ${formatSize(move.progress.totalBytes)} to send`)
      }
      if (move.waitsFor !== null && move.waitsFor !== waitsFor) err(`${move.volumeName}: waiting: ${move.waitsFor}`)
      waitsFor = move.waitsFor
      for (const { bytes, ms } of move.rounds.slice(rounds)) {
        rounds += 1
        const speed = ms > 0 ? `, ${rate((bytes * 1000) / ms)}` : ''
        err(`${move.volumeName}: round ${rounds}: ${formatSize(bytes)} in ${formatDuration(ms)}${speed}`)
      }
    },
    stop() {},
  }
}

const createBar = (): Progress => {
  const bar = new SingleBar(
    {
      format: '{name}: {phase} {round}|{bar}| {percentage}% {text}',
      barsize: 24,
      stream: process.stderr,
      hideCursor: true,
      clearOnComplete: true,
      gracefulExit: false,
    },
    Presets.shades_classic,
  )
  let started = false
  return {
    update(move) {
      const { progress, forecast } = move
      const total = Math.max(progress?.totalBytes ?? 1, 1)
      // Between rounds all that was to send is sent.
      const done = progress === null ? Math.min(move.rounds.length, 1) : Math.min(progress.bytes, total)
      const left = progress?.remainingMs ?? null
      const text = [
        ...(progress === null ? [] : [`${formatSize(done)} of ${formatSize(total)}`, rate(progress.bytesPerSecond)]),
        ...(left === null ? [] : [`${formatDuration(left)} left`]),
        ...(move.waitsFor === null ? [] : [`waiting: ${move.waitsFor}`]),
        ...(forecast === null ? [] : [`downtime about ${formatDuration(forecast.downtimeMs)}`]),
      ].join(', ')
      const round = progress === null ? '' : `round ${progress.round} `
      const payload = { name: move.volumeName, phase: waiting(move) ?? move.phase, round, text }
      if (!started) bar.start(total, done, payload)
      started = true
      bar.setTotal(total)
      bar.update(done, payload)
    },
    stop() {
      if (started) bar.stop()
      started = false
    },
  }
}
