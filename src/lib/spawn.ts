import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process'

/**
 * Starts a command whose byte streams the caller joins. The kernel ends it with SIGKILL when this process ends, however that
 * happens: so a killed transfer leaves no command behind. Apart from lib/exec so that a process that is started for every
 * transfer loads no more than this.
 */
export const spawnBound = (argv: readonly [string, ...string[]], stdio: StdioOptions): ChildProcess =>
  spawn('setpriv', ['--pdeathsig', 'KILL', '--', ...argv], { stdio, env: { ...process.env, LC_ALL: 'C' } })
