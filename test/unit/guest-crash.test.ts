import { expect, test } from 'vitest'
import { crashOf } from '../../lab/vm/crash.ts'

test('a command that broke is told with what the kernel said last; one that failed, or was killed, is not', () => {
  const line = 'node[268]: segfault at 18 ip 00000000011d5c2e'
  expect(crashOf(139, line)).toBe(`the guest's command ended by SIGSEGV; its console said last: ${line}`)
  expect(crashOf(133, '')).toBe("the guest's command ended by SIGTRAP; its console said last: (nothing)")
  for (const status of [0, 1, 127, 128 + 9, 128 + 15]) expect(crashOf(status, line)).toBeNull()
})
