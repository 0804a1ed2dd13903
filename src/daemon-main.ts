import { readFile } from 'node:fs/promises'
import { startDaemon } from './daemon.ts'
import { asDroverError } from './domain/errors.ts'
import { readConfig, usage } from './lib/config.ts'
import { createLogger } from './lib/logger.ts'

const version: string = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8')).version

const fail = (thrown: unknown): never => {
  const error = asDroverError(thrown)
  process.stderr.write(`vold: ${error.code}: ${error.message}\n`)
  if (error.code === 'INTERNAL' && error.cause instanceof Error) process.stderr.write(`${error.cause.stack}\n`)
  process.exit(error.kind.exit)
}

const main = async (): Promise<void> => {
  const config = await readConfig(process.argv.slice(2))
  if (config === 'help' || config === 'version') {
    process.stdout.write(`${config === 'help' ? usage : version}\n`)
    return
  }
  // Files that vold makes are its own.
  process.umask(0o077)
  const logger = createLogger(config.logLevel)
  const daemon = await startDaemon(config, logger, version)
  let stopping = false
  const stop = (signal: string) => {
    if (stopping) return
    stopping = true
    logger.info({ signal }, 'vold is stopping')
    daemon.stop().then(() => process.exit(0), fail)
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
}

main().catch(fail)
