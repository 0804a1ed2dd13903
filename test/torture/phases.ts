import { request } from 'node:http'
import { createInterface } from 'node:readline'
import type { LabHost } from '../../lab/host.ts'
import type { Phase } from '../../src/domain/move.ts'

/** Follows the control role's events; the callback hears of every phase that a move enters, right after it was journaled. */
export const followPhases = (control: LabHost, entered: (phase: Phase) => void): Promise<() => void> =>
  new Promise((resolve, reject) => {
    const socketPath = control.path('/run/drover/vold.sock')
    const call = request({ socketPath, path: '/v1/events', agent: false, headers: { accept: 'text/event-stream' } })
    call.once('error', reject)
    call.once('response', (response) => {
      // Whoever is followed may be killed.
      call.on('error', () => {})
      response.on('error', () => {})
      const lines = createInterface({ input: response })
      lines.on('error', () => {})
      lines.on('line', (line) => {
        if (!line.startsWith('data: ')) return
        const event = JSON.parse(line.slice('data: '.length))
        if (event.type === 'move.phase') entered(event.data.phase)
      })
      resolve(() => void call.destroy())
    })
    call.end()
  })
