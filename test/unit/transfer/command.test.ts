import { getPriority } from 'node:os'
import { expect, test } from 'vitest'
import { startStreamCommand } from '../../../src/migrate/transfer/command.ts'

test('a stream waits for its commands: they come before what carries its bytes', async () => {
  const { child, kill } = startStreamCommand(['sleep', '60'], 'ignore', 'ignore')
  const [ours, its] = [getPriority(), getPriority(child.pid)]
  await kill()
  // Only root may.
  if (process.getuid?.() === 0) expect(its).toBeLessThan(ours)
  else expect(its).toBe(ours)
})
