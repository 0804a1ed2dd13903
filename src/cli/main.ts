import { CommanderError } from 'commander'
import { systemClock } from '../lib/clock.ts'
import { createClient } from './client.ts'
import { failureOf } from './failure.ts'
import { createProgram } from './program.ts'

const main = async (argv: readonly string[]): Promise<void> => {
  // `vol ls | head` is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
    process.exit(0)
  })
  const program = createProgram({
    environment: process.env,
    makeContext: ({ json, socket }) => ({
      client: createClient(socket),
      clock: systemClock,
      json,
      terminal: process.stderr.isTTY === true,
      out: (line) => void process.stdout.write(`${line}\n`),
      err: (line) => void process.stderr.write(`${line}\n`),
    }),
    onExit: (status) => {
      process.exitCode = status
    },
  })
  try {
    await program.parseAsync([...argv], { from: 'user' })
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return
    const { code, message, exit, problem } = failureOf(error)
    // Where the options did not even parse, only the words themselves can say that JSON was wanted.
    const json = program.opts<{ json: boolean }>().json || argv.includes('--json')
    process.stderr.write(json ? `${JSON.stringify(problem)}\n` : `vol: ${code}: ${message}\n`)
    process.exitCode = exit
  }
}

await main(process.argv.slice(2))
