import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { expect, test } from 'vitest'

test('what Drover never uses of dockerode is not loaded', () => {
  // In a process of its own: what other tests load does not count.
  const script = `
    const { Dockerode } = await import(${JSON.stringify(join(import.meta.dirname, '../../../src/containers/dockerode.ts'))})
    const { createRequire } = await import('node:module')
    const loaded = Object.keys(createRequire(import.meta.url).cache)
    console.log(JSON.stringify({ made: typeof new Dockerode({ socketPath: '/nowhere' }).getContainer, loaded }))`
  const printed = execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' })
  const { made, loaded }: { made: string; loaded: string[] } = JSON.parse(printed)
  expect(made).toBe('function')
  expect(loaded.filter((path) => path.includes('/dockerode/lib/docker.js'))).toHaveLength(1)
  expect(loaded.filter((path) => /\/(@grpc|protobufjs|ssh2|cpu-features)\//.test(path))).toEqual([])
})
