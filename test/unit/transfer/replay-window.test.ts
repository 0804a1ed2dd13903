import { expect, test } from 'vitest'
import { createDigest } from '../../../src/migrate/transfer/digest.ts'
import { headerBytes } from '../../../src/migrate/transfer/frames.ts'
import { createReplayWindow } from '../../../src/migrate/transfer/replay-window.ts'
import type { FrameSource } from '../../../src/migrate/transfer/source.ts'

const bodies = ['abcd', 'efgh', 'ij']

const windowOf = () => {
  const left = bodies.map((body) => Buffer.concat([Buffer.alloc(headerBytes), Buffer.from(body)]))
  const released: string[] = []
  const source = {
    next: async () => left.shift() ?? null,
    release: (frame: Buffer) => void released.push(frame.toString('latin1', headerBytes)),
  } as unknown as FrameSource
  return { window: createReplayWindow(source), released }
}

const rest = async (window: ReturnType<typeof createReplayWindow>, turn: number): Promise<string> => {
  let text = ''
  for (let piece = await window.next(turn); piece !== null; piece = await window.next(turn)) text += piece.body
  return text
}

test('from any byte that is not acknowledged it begins anew, as often as asked', async () => {
  for (let at = 0; at <= 10; at += 1) {
    const { window, released } = windowOf()
    expect(await rest(window, window.rewind(0))).toBe('abcdefghij')
    expect(await rest(window, window.rewind(at))).toBe('abcdefghij'.slice(at))
    expect(await rest(window, window.rewind(at))).toBe('abcdefghij'.slice(at))
    expect(released).toEqual(at < 4 ? [] : at < 8 ? ['abcd'] : at < 10 ? ['abcd', 'efgh'] : bodies)
    const digest = createDigest(window.key)
    digest.update(Buffer.from('abcdefghij'))
    expect(window.end()).toEqual({ bytes: 10, digest: digest.end() })
    expect(window.end().bytes).toBe(10)
  }
})

test('a link that was given up gets nothing more, and takes nothing from the one after it', async () => {
  const { window } = windowOf()
  const first = window.rewind(0)
  await window.next(first)
  const waiting = window.next(first)
  const second = window.rewind(2)
  await expect(waiting).rejects.toThrow('given up')
  expect(await rest(window, second)).toBe('cdefghij')
})

test('what is acknowledged is gone, what was not sent cannot be', async () => {
  const { window } = windowOf()
  const turn = window.rewind(0)
  await window.next(turn)
  expect(() => window.acknowledge(5)).toThrow(/5 bytes, 4 were sent/)
  window.acknowledge(4)
  expect(() => window.rewind(3)).toThrow(/asks for byte 3/)
})
