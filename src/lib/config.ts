import { readFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { parseArgs } from 'node:util'
import { parse } from 'smol-toml'
import { z } from 'zod'
import { DroverError } from '../domain/errors.ts'
import { checkHostName } from '../domain/names.ts'
import { parsePoolSpec } from '../domain/pool.ts'
import { parseDuration, parseSize } from '../domain/units.ts'
import { type LogLevel, logLevels } from './logger.ts'

/** Programs of the operator, run around every move: absolute paths, no shell. */
export interface HooksConfig {
  /** On the source, while the writers still run. */
  readonly beforeQuiesce: string | null
  /** On the target, once the containers were started. */
  readonly afterActivate: string | null
  readonly timeoutMs: number
}

export interface DaemonConfig {
  readonly dataDir: string
  readonly runDir: string
  readonly listen: string
  readonly dataListen: string
  /** ADDR:PORT that other hosts reach this one at; null: found out from the network interfaces. */
  readonly advertise: string | null
  readonly hostName: string
  readonly pools: readonly string[]
  readonly docker: string
  readonly pluginDir: string
  readonly logLevel: LogLevel
  /** Networks (CIDR) between whose hosts streams may go in plain. */
  readonly trustedLinks: readonly string[]
  /** An operator says that the machine which this data directory was copied from is gone for good. */
  readonly confirmMachine: boolean
  /** Bytes of the pool that vold makes itself when none is named; null: chosen by what is free. */
  readonly defaultPoolBytes: number | null
  /** Control role: moves at once that a host ships data for; null: the mover's own default. */
  readonly movesPerHost: number | null
  /** Milliseconds that plugin calls may take, where they are not the plugin's own. */
  readonly pluginLimits: PluginLimitsConfig
  readonly hooks: HooksConfig
  /** Control role: a file with a cloud's prices, by which dry runs tell money; null: they tell units alone. */
  readonly priceFile: string | null
}

export interface PluginLimitsConfig {
  readonly lookupMs?: number
  readonly changeMs?: number
  readonly createMs?: number
  readonly mountMs?: number
  readonly briefMs?: number
}

const limit = z.int().positive().optional()

const shape = z.strictObject({
  data_dir: z.string().optional(),
  run_dir: z.string().optional(),
  listen: z.string().optional(),
  data_listen: z.string().optional(),
  advertise: z.string().optional(),
  host_name: z.string().optional(),
  pools: z.array(z.string()).optional(),
  docker: z.string().optional(),
  plugin_dir: z.string().optional(),
  log_level: z.enum(logLevels).optional(),
  trusted_links: z.array(z.string()).optional(),
  default_pool_size: z.string().optional(),
  moves_per_host: z.int().min(1).max(64).optional(),
  prices: z.string().optional(),
  plugin_limits: z
    .strictObject({ lookup_ms: limit, change_ms: limit, create_ms: limit, mount_ms: limit, brief_ms: limit })
    .optional(),
  hooks: z
    .strictObject({
      before_quiesce: z.string().optional(),
      after_activate: z.string().optional(),
      timeout: z.string().optional(),
    })
    .optional(),
})
type File = z.infer<typeof shape>

const flags = {
  config: { type: 'string' },
  'data-dir': { type: 'string' },
  'run-dir': { type: 'string' },
  listen: { type: 'string' },
  'data-listen': { type: 'string' },
  advertise: { type: 'string' },
  'host-name': { type: 'string' },
  pool: { type: 'string', multiple: true },
  docker: { type: 'string' },
  'plugin-dir': { type: 'string' },
  'log-level': { type: 'string' },
  'confirm-machine': { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean' },
} as const

export const usage = `vold [--config FILE] [--data-dir DIR=/var/lib/drover] [--run-dir DIR=/run/drover] [--listen ADDR:PORT=0.0.0.0:7460]
     [--data-listen ADDR:PORT=0.0.0.0:7461] [--advertise ADDR:PORT] [--host-name NAME] [--pool SPEC]...
     [--docker unix:///var/run/docker.sock] [--plugin-dir /run/docker/plugins] [--log-level info] [--confirm-machine]`

/** Flags over the TOML file over defaults. `help`, `version`: only that was asked for. @throws BAD_CONFIG */
export const readConfig = async (argv: readonly string[]): Promise<DaemonConfig | 'help' | 'version'> => {
  const values = parseFlags(argv)
  if (values.help) return 'help'
  if (values.version) return 'version'
  const file: File = values.config === undefined ? {} : await readFileConfig(values.config)
  const level = values['log-level'] ?? file.log_level ?? 'info'
  const logLevel = logLevels.find((known) => known === level)
  if (logLevel === undefined)
    throw new DroverError(
      'BAD_CONFIG',
      `log level ${JSON.stringify(level)} does not exist; use one of ${logLevels.join(', ')}`,
    )
  return {
    dataDir: absolute('data directory', values['data-dir'] ?? file.data_dir ?? '/var/lib/drover'),
    runDir: absolute('run directory', values['run-dir'] ?? file.run_dir ?? '/run/drover'),
    listen: addressText(values.listen ?? file.listen ?? '0.0.0.0:7460'),
    dataListen: addressText(values['data-listen'] ?? file.data_listen ?? '0.0.0.0:7461'),
    advertise: optionalAddress(values.advertise ?? file.advertise),
    hostName: checkHostName(values['host-name'] ?? file.host_name ?? hostname()),
    pools: (values.pool ?? file.pools ?? []).map((spec) => parsePoolSpec(spec).text),
    docker: values.docker ?? file.docker ?? 'unix:///var/run/docker.sock',
    pluginDir: absolute('plugin directory', values['plugin-dir'] ?? file.plugin_dir ?? '/run/docker/plugins'),
    logLevel,
    trustedLinks: (file.trusted_links ?? []).map(checkNetwork),
    confirmMachine: values['confirm-machine'] ?? false,
    defaultPoolBytes: file.default_pool_size === undefined ? null : parseSize(file.default_pool_size),
    movesPerHost: file.moves_per_host ?? null,
    pluginLimits: pluginLimits(file.plugin_limits ?? {}),
    hooks: hooksOf(file.hooks ?? {}),
    priceFile: file.prices === undefined ? null : absolute('price file', file.prices),
  }
}

const pluginLimits = (given: NonNullable<File['plugin_limits']>): PluginLimitsConfig => ({
  ...(given.lookup_ms === undefined ? {} : { lookupMs: given.lookup_ms }),
  ...(given.change_ms === undefined ? {} : { changeMs: given.change_ms }),
  ...(given.create_ms === undefined ? {} : { createMs: given.create_ms }),
  ...(given.mount_ms === undefined ? {} : { mountMs: given.mount_ms }),
  ...(given.brief_ms === undefined ? {} : { briefMs: given.brief_ms }),
})

const parseFlags = (argv: readonly string[]) => {
  try {
    return parseArgs({ args: [...argv], options: flags, allowPositionals: false }).values
  } catch (error) {
    const [first = ''] = String(error instanceof Error ? error.message : error).split('. ')
    throw new DroverError('BAD_CONFIG', `${first}; vold --help shows the flags`)
  }
}

const readFileConfig = async (path: string): Promise<File> => {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    throw new DroverError(
      'BAD_CONFIG',
      `configuration ${path} cannot be read: ${error instanceof Error ? error.message : error}`,
    )
  }
  try {
    return shape.parse(parse(text))
  } catch (error) {
    const reason =
      error instanceof z.ZodError
        ? error.issues.map((issue) => `${issue.path.join('.')} ${issue.message}`.trim()).join('; ')
        : String(error instanceof Error ? error.message : error).split('\n')[0]
    throw new DroverError('BAD_CONFIG', `configuration ${path} cannot be used: ${reason}`)
  }
}

const defaultHookMs = 30_000
/** Control waits for a hook this long at most. */
const longestHookMs = 600_000

const hooksOf = ({ before_quiesce, after_activate, timeout }: NonNullable<File['hooks']>): HooksConfig => {
  const timeoutMs = timeout === undefined ? defaultHookMs : parseDuration(timeout)
  if (timeoutMs < 1 || timeoutMs > longestHookMs) {
    throw new DroverError('BAD_CONFIG', `hooks.timeout ${JSON.stringify(timeout)} cannot be used; at most 10m`)
  }
  const path = (key: string, given: string | undefined) =>
    given === undefined ? null : absolute(`hooks.${key}`, given)
  return {
    beforeQuiesce: path('before_quiesce', before_quiesce),
    afterActivate: path('after_activate', after_activate),
    timeoutMs,
  }
}

const absolute = (what: string, path: string): string => {
  if (path.startsWith('/')) return path.length > 1 ? path.replace(/\/+$/, '') : path
  throw new DroverError('BAD_CONFIG', `${what} ${JSON.stringify(path)} is not an absolute path; begin it with /`)
}

const addressText = (text: string): string => {
  const port = Number(/^(?:\[[0-9a-fA-F:.]+\]|[^:\s]+):(\d+)$/.exec(text)?.[1])
  if (port > 0 && port < 65_536) return text
  throw new DroverError(
    'BAD_CONFIG',
    `${JSON.stringify(text)} is not an address; write ADDR:PORT, such as 0.0.0.0:7460`,
  )
}

const optionalAddress = (text: string | undefined): string | null => (text === undefined ? null : addressText(text))

const checkNetwork = (text: string): string => {
  if (/^[0-9a-fA-F:.]+\/\d{1,3}$/.test(text)) return text
  throw new DroverError(
    'BAD_CONFIG',
    `trusted link ${JSON.stringify(text)} is not a network; write it such as 10.1.0.0/16`,
  )
}
