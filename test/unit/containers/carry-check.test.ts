import { readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { specFromInspect } from '../../../src/containers/capture.ts'
import { carryProblems } from '../../../src/containers/carry-check.ts'
import type { CarryFacts } from '../../../src/containers/carry-facts.ts'
import type { ContainerSpec } from '../../../src/containers/runtime.ts'
import type { WireContainer } from '../../../src/containers/wire.ts'
import { moveId } from '../../../src/domain/ids.ts'

const captured = async (name: string, change: (inspected: WireContainer) => void = () => undefined) => {
  const text = await readFile(new URL(`inspects/${name}.json`, import.meta.url), 'utf8')
  const inspected = JSON.parse(text) as WireContainer
  change(inspected)
  return specFromInspect(inspected, ['db'], 'host1')
}

const facts = (change: Partial<CarryFacts> = {}): CarryFacts => ({
  containers: [],
  networks: new Map([
    ['backend', { subnets: ['10.77.0.0/24'] }],
    ['front', { subnets: ['172.18.0.0/16'] }],
  ]),
  missingPaths: new Set(),
  ports: new Map(),
  runtimes: ['runc'],
  logDrivers: ['json-file'],
  volumeDrivers: new Map(),
  ...change,
})

const container = (name: string, more: object = {}) => ({
  Id: 'c'.repeat(64),
  Names: [`/${name}`],
  Image: 'i',
  State: 'running',
  ...more,
})

const said = (spec: ContainerSpec, given: CarryFacts, drop: string[] = [], move?: string): string =>
  carryProblems([spec], given, drop, move === undefined ? undefined : moveId(move))
    .map(({ container: name, what, wayOut }) => `${name}: ${what}; ${wayOut}`)
    .join('\n')

const move = '01bx5zzkbkactav9wevgemmvs0'

describe('carry check', () => {
  test('finds nothing where everything is there', async () => {
    expect(said(await captured('rich'), facts())).toBe('')
  })

  test.each<[string, string, Partial<CarryFacts>, RegExp]>([
    [
      'a missing bind source',
      'rich',
      { missingPaths: new Set(['/etc']) },
      /bind mount at \/conf needs \/etc.*--drop-mount \/conf/,
    ],
    ['a missing device', 'rich', { missingPaths: new Set(['/dev/null']) }, /device \/dev\/null/],
    [
      'a missing network',
      'rich',
      { networks: new Map() },
      /network backend[^\n]*docker network create backend[^\n]*\n.*network front/,
    ],
    [
      'a subnet that does not hold the fixed address',
      'rich',
      {
        networks: new Map([
          ['backend', { subnets: ['10.78.0.0/24'] }],
          ['front', { subnets: [] }],
        ]),
      },
      /fixed address 10\.77\.0\.9 on the network backend.*10\.78\.0\.0\/24/,
    ],
    [
      'a port held by a process',
      'rich',
      { ports: new Map([['127.0.0.1/15432/tcp', 'taken']]) },
      /port 127\.0\.0\.1:15432\/tcp, which a process/,
    ],
    [
      'an address it lacks',
      'rich',
      { ports: new Map([['127.0.0.1/15432/tcp', 'no such address']]) },
      /an address that the target does not have/,
    ],
    [
      'a port held by a container',
      'rich',
      { containers: [container('web', { Ports: [{ IP: '0.0.0.0', PublicPort: 15432, Type: 'tcp' }] })] },
      /15432\/tcp, which the container web/,
    ],
    ['a taken name', 'rich', { containers: [container('rich', { State: 'exited' })] }, /name is taken.*exited/],
    [
      'a foreign volume of the name',
      'rich',
      { volumeDrivers: new Map([['db', 'local']]) },
      /volume named db, of driver local/,
    ],
    ['a missing runtime', 'rich', { runtimes: ['crun'] }, /container runtime runc/],
    ['a missing log driver', 'rich', { logDrivers: ['syslog'] }, /log driver json-file/],
    ['a missing link', 'plain', {}, /linked to the container other/],
    ['missing --volumes-from', 'heir', {}, /volumes from the container plain/],
    ["another container's network", 'heir', {}, /network namespace of another container/],
  ])('names %s and the way out', async (_what, name, change, expected) => {
    const text = said(await captured(name), facts(change))
    expect(text).toMatch(expected)
    for (const line of text.split('\n')) expect(line).toContain('--containers stop')
  })

  test('names local and anonymous volumes until they are dropped', async () => {
    const here = facts({ containers: [container('other')] })
    const plain = await captured('plain')
    expect(said(plain, here)).toMatch(/volume local1 at \/l, of driver local/)
    expect(said(plain, here)).toMatch(/an anonymous volume \([0-9a-f]{12}\) at \/anon.*--drop-mount \/anon/)
    expect(said(plain, here, ['/l', '/anon'])).toBe('')
  })

  test('names a Swarm task', async () => {
    const task = await captured('rich', (inspected) =>
      Object.assign(inspected.Config.Labels ?? {}, { 'com.docker.swarm.service.name': 'web' }),
    )
    expect(said(task, facts())).toMatch(/Swarm service web/)
  })

  test('is not stopped by what this move made itself', async () => {
    const rich = await captured('rich')
    const made = facts({ containers: [container('rich', { Labels: { 'drover.move': move } })] })
    expect(said(rich, made, [], move)).toBe('')
    expect(said(rich, made, [], '01bx5zzkbkactav9wevgemmvs1')).toMatch(/name is taken/)
  })

  test('lets one port be published on two addresses', async () => {
    const other = container('web', { Ports: [{ IP: '127.0.0.2', PublicPort: 15432, Type: 'tcp' }] })
    expect(said(await captured('rich'), facts({ containers: [other] }))).toBe('')
  })
})
