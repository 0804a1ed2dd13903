import { expect, test } from 'vitest'
import type { DockerClient } from '../../../src/containers/docker-client.ts'
import { pauseContainer } from '../../../src/containers/freeze.ts'
import { DroverError } from '../../../src/domain/errors.ts'

/** An engine that refuses to pause with these words, one after the other, and then does it. */
const engineThat = (refusals: string[]) => {
  let pauses = 0
  const call = async (what: string): Promise<unknown> => {
    if (!what.startsWith('pause ')) return { State: { Paused: false } }
    pauses += 1
    const words = refusals.shift()
    if (words === undefined) return {}
    throw new DroverError('DOCKER_FAILED', `Docker refused to ${what}: ${words}`, { details: { status: 500 } })
  }
  const client: DockerClient = { socketPath: '/none', call: call as DockerClient['call'] }
  return { client, pauses: () => pauses }
}
const slips = 'OCI runtime pause failed: unable to freeze: unknown'

test('what slips from the freezer is frozen at another try', async () => {
  const engine = engineThat([slips, slips])
  await pauseContainer(engine.client, 'db')
  expect(engine.pauses()).toBe(3)
})

test('what always slips is told after some tries, any other refusal at once', async () => {
  const slippery = engineThat(Array.from({ length: 9 }, () => slips))
  await expect(pauseContainer(slippery.client, 'db')).rejects.toThrow(/unable to freeze/)
  expect(slippery.pauses()).toBe(4)
  const other = engineThat(['container db is not running'])
  await expect(pauseContainer(other.client, 'db')).rejects.toThrow(/is not running/)
  expect(other.pauses()).toBe(1)
})
