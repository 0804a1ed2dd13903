import { expect, onTestFinished, test } from 'vitest'
import { roleFirst } from '../../../src/backends/block/ebs/credentials.ts'
import { connectEc2 } from '../../../src/backends/block/ebs/ec2-client.ts'
import { believeToBeOn } from '../../ec2/pool.ts'
import { Ec2Server } from '../../ec2/server.ts'

const nobody = () => Promise.reject(new Error('no such credentials'))

test('without a role the rest of the chain is asked, each time', async () => {
  let hasRole = false
  const find = roleFirst(
    () => (hasRole ? Promise.resolve('role') : nobody()),
    () => Promise.resolve('environment'),
  )
  expect(await find()).toBe('environment')
  hasRole = true
  expect(await find()).toBe('role')
  hasRole = false
  await expect(find()).rejects.toThrow('no such credentials')
})

test('on an instance the role goes before what stands in the environment', async () => {
  const server = await Ec2Server.start()
  onTestFinished(() => server.close())
  believeToBeOn(server)
  process.env.AWS_ACCESS_KEY_ID = 'AKIAENVIRONMENT'
  process.env.AWS_SECRET_ACCESS_KEY = 'secret'
  const client = await connectEc2({ region: 'eu-test-1', endpoint: server.endpoint })
  expect((await client.config.credentials()).accessKeyId).toBe('ASIATEST')
  await client.describeVolumes({})
  expect(server.journal[0]?.outcome).toBe('done')
})
