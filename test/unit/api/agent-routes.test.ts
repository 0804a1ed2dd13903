import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import express from 'express'
import { expect, onTestFinished, test } from 'vitest'
import { createAgentRoutes } from '../../../src/api/agent-routes.ts'
import { hostId } from '../../../src/domain/ids.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import type { Agent } from '../../../src/migrate/agent.ts'

const control = hostId(`h${'1'.padStart(25, '0')}`)

test('a move is told of at its first command, and once', async () => {
  const told: object[] = []
  const agent: Partial<Agent> = { keepAlive: async () => {}, undoSource: async () => {}, changedBytes: async () => 0 }
  const routes = createAgentRoutes({
    agent: agent as Agent,
    logger: { ...silentLogger, info: (fields) => void told.push(fields) },
    controlHostId: () => control,
    expectsImage: async () => false,
    loadImage: async () => {},
  })
  const app = express().use((_request, response, next) => {
    response.locals.peer = control
    next()
  }, routes)
  const server = createServer(app).listen(0, '127.0.0.1')
  onTestFinished(() => void server.close())
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as AddressInfo
  const command = async (method: string, moveId: string) => {
    const body = JSON.stringify({ moveId, volumeName: 'db' })
    const answer = await fetch(`http://127.0.0.1:${port}/${method}`, { method: 'POST', body })
    expect(answer.status).toBe(200)
    await answer.text()
  }
  // A plan asks this before there is a move.
  await command('changedBytes', 'none')
  await command('keepAlive', 'm1')
  await command('undoSource', 'm1')
  await command('undoSource', 'm2')
  expect(told).toEqual([
    { move: 'm1', volume: 'db', method: 'keepAlive' },
    { move: 'm2', volume: 'db', method: 'undoSource' },
  ])
})
