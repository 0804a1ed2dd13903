import { spawn } from 'node:child_process'
import { account, given, usage } from './account.ts'
import { sweep } from './sweep.ts'

/* npm run test:aws [-- --sweep]: the suite of all pools on EBS itself; with --sweep only what a run left behind is removed. */

const what = given(process.env, process.geteuid?.())
if (what === null) {
  console.error(`test:aws: ${usage}`)
  process.exitCode = 2
} else if (process.argv[2] === '--sweep') {
  try {
    const { ec2, cluster } = await account(what)
    console.log(`test:aws: removed ${await sweep(ec2, cluster)} volumes and snapshots of cluster ${cluster}`)
  } catch (error) {
    console.error(`test:aws: ${error instanceof Error ? error.message : error}`)
    process.exitCode = 1
  }
} else {
  // Set-ups and time-outs are for disks of this machine.
  const env = { ...process.env, DROVER_AWS: '1', DROVER_TEST_PATIENCE: process.env.DROVER_TEST_PATIENCE ?? '30' }
  const child = spawn('vitest', ['run', '--project', 'aws', ...process.argv.slice(2)], { stdio: 'inherit', env })
  child.once('exit', (code) => {
    process.exitCode = code ?? 1
  })
}
