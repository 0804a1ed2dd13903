import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { parseArgs } from 'node:util'
import { createAuthority, startHost } from '../test/unit/transfer/hosts.ts'
import { droverTransfer, type Method, type Sample, socatFloor } from './transfer-methods.ts'
import { changeOnePercent, fillSubvolume, openPools, removeSubvolumes, run, snapshot } from './transfer-pools.ts'
import { formatTransferRows, rowOf, type TransferRow } from './transfer-rows.ts'

export interface TransferBenchOptions {
  /** Where the pools' image files may lie; they need some 5 times the larger data set. */
  readonly directory: string
  readonly repetitions: number
  /** Bytes of the data set in one file, and of the one in many. 0 leaves it out. */
  readonly oneFileBytes: number
  readonly manyFilesBytes: number
  readonly manyFiles: number
  readonly say: (line: string) => void
}

interface Case {
  readonly name: string
  readonly files: number
  readonly bytesEach: number
}

const shuffled = <T>(items: readonly T[]): T[] =>
  items
    .map((item) => ({ item, at: Math.random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ item }) => item)

/** Every method once a repetition, in an order drawn anew. */
const repeat = async (
  methods: Readonly<Record<string, Method>>,
  repetitions: number,
  once: (name: string, method: Method) => Promise<Sample>,
): Promise<Record<string, Sample[]>> => {
  const samples: Record<string, Sample[]> = Object.fromEntries(Object.keys(methods).map((name) => [name, []]))
  for (let repetition = 0; repetition < repetitions; repetition += 1) {
    for (const [name, method] of shuffled(Object.entries(methods))) samples[name]?.push(await once(name, method))
  }
  return samples
}

const streamSize = (...args: string[]): number =>
  Number(run('sh', '-c', 'btrfs send -q "$@" | wc -c', 'sh', ...args).trim())

/** All rows; prints nothing but through `say`. Needs root. */
export const benchTransfer = async (options: TransferBenchOptions): Promise<TransferRow[]> => {
  const authority = await createAuthority('bench')
  const a = await startHost(await authority.issue('a'))
  const b = await startHost(await authority.issue('b'))
  const methods = { floor: socatFloor, tls: droverTransfer(a, b, false), plain: droverTransfer(a, b, true) }
  const warm = async () => {
    a.service.warm()
    b.service.warm()
    await new Promise((resolve) => setTimeout(resolve, 500))
  }
  const cases: Case[] = [
    { name: 'one file', files: 1, bytesEach: options.oneFileBytes },
    {
      name: `${options.manyFiles} files`,
      files: options.manyFiles,
      bytesEach: Math.floor(options.manyFilesBytes / options.manyFiles),
    },
  ].filter((one) => one.bytesEach > 0)
  try {
    const rows: TransferRow[] = []
    for (const one of cases) rows.push(...(await benchCase(one, methods, warm, options)))
    return rows
  } finally {
    await a.service.close()
    await b.service.close()
  }
}

const benchCase = async (
  one: Case,
  methods: Readonly<Record<'floor' | 'tls' | 'plain', Method>>,
  warm: () => Promise<void>,
  { directory, repetitions, say }: TransferBenchOptions,
): Promise<TransferRow[]> => {
  const total = one.files * one.bytesEach
  const pools = openPools(directory, Math.ceil((total * 2.2 + 2 ** 29) / 2 ** 20) * 2 ** 20)
  try {
    const live = join(pools.source, 'live')
    const base = join(pools.source, 'base')
    const into = join(pools.target, 'in')
    mkdirSync(into)
    fillSubvolume(live, one.files, one.bytesEach)
    snapshot(live, base)
    // Reads everything once: the cache is warm for all.
    const fullBytes = streamSize(base)
    const full = await repeat(methods, repetitions, async (name, method) => {
      run('sync')
      const sample = await method({ snapshot: base, parent: null, into })
      removeSubvolumes(pools.target, join(into, 'base'))
      say(`full ${one.name} ${name}: ${Math.round(sample.ms)} ms, CPU ${sample.cpuSeconds.toFixed(2)} s`)
      return sample
    })
    await socatFloor({ snapshot: base, parent: null, into })
    changeOnePercent(live, one.files, one.bytesEach)
    const next = join(pools.source, 'next')
    snapshot(live, next)
    const deltaBytes = streamSize('-p', base, next)
    removeSubvolumes(pools.source, next)
    const delta = await repeat(methods, repetitions * 2 + 1, async (name, method) => {
      run('sync')
      // As the mover does when a move begins.
      if (name !== 'floor') await warm()
      const sample = await method({ snapshot: next, parent: base, into }, () => snapshot(live, next))
      removeSubvolumes(pools.target, join(into, basename(next)))
      removeSubvolumes(pools.source, next)
      say(`1% of ${one.name} ${name}: ${Math.round(sample.ms)} ms`)
      return sample
    })
    return (['tls', 'plain'] as const).flatMap((mode) => {
      const link = mode === 'tls' ? 'mutual TLS' : 'plain link'
      return [
        rowOf(`full, ${one.name}, ${link}`, full.floor ?? [], full[mode] ?? [], fullBytes, 'rate'),
        rowOf(`1% of ${one.name}, ${link}`, delta.floor ?? [], delta[mode] ?? [], deltaBytes, 'time'),
      ]
    })
  } finally {
    pools.close()
  }
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      directory: { type: 'string' },
      repetitions: { type: 'string', default: '3' },
      'one-file-mib': { type: 'string', default: '2048' },
      'many-files-mib': { type: 'string', default: '1024' },
      'many-files': { type: 'string', default: '20000' },
    },
  })
  const directory = mkdtempSync(join(values.directory ?? tmpdir(), 'drover-bench-'))
  try {
    const rows = await benchTransfer({
      directory,
      repetitions: Number(values.repetitions),
      oneFileBytes: Number(values['one-file-mib']) * 2 ** 20,
      manyFilesBytes: Number(values['many-files-mib']) * 2 ** 20,
      manyFiles: Number(values['many-files']),
      say: (line) => process.stderr.write(`${line}\n`),
    })
    console.log(formatTransferRows(rows))
  } finally {
    rmSync(directory, { recursive: true })
  }
}
