import type { Command } from 'commander'
import { createParser } from 'eventsource-parser'
import { DroverError } from '../domain/errors.ts'
import type { StoredEvent } from '../state/store.ts'
import type { Context } from './context.ts'
import { withPatience } from './patience.ts'
import type { Run } from './program.ts'

const patienceMs = 60_000

/** events */
export const addEventCommands = (program: Command, run: Run): void => {
  program
    .command('events')
    .description('print what happened; with --follow, what happens from now on')
    .option('--follow', 'go on until Ctrl-C', false)
    .action(run((context, options: { follow: boolean }) => (options.follow ? follow(context) : printKept(context))))
}

const print = (context: Context, event: StoredEvent): void => {
  const line = `${event.sequence} ${event.at} ${event.type} ${JSON.stringify(event.data)}`
  context.out(context.json ? JSON.stringify(event) : line)
}

const printKept = async (context: Context): Promise<void> => {
  let after: string | null = '0'
  while (after !== null) {
    const page: { items: StoredEvent[]; nextCursor: string | null } = await context.client.call(
      'GET',
      `/v1/events?after=${after}`,
    )
    for (const event of page.items) print(context, event)
    after = page.nextCursor
  }
}

const follow = async (context: Context): Promise<never> => {
  let last: string | null = null
  const parser = createParser({
    onEvent: (event) => {
      last = event.id ?? last
      print(context, JSON.parse(event.data))
    },
  })
  const open = () => context.client.stream('/v1/events', last === null ? {} : { 'Last-Event-ID': last })
  let response = await open()
  for (;;) {
    try {
      response.setEncoding('utf8')
      for await (const chunk of response) parser.feed(chunk)
    } catch (error) {
      if (!(error instanceof Error && 'code' in error)) throw error
    }
    // The stream broke off: from where it was, nothing is missed.
    parser.reset()
    if (last === null)
      throw new DroverError('DAEMON_UNREACHABLE', 'vold ended the stream of events; run vol events again')
    response = await withPatience(context.clock, patienceMs, open)
  }
}
