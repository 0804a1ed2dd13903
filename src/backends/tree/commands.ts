import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Argv } from '../backend.ts'
import type { ReceiveOrder } from './receive.ts'
import type { SendOrder } from './send.ts'

const own = fileURLToPath(import.meta.url)
/** Beside this file, as .ts in development and as .js when compiled. */
const mainPath = own.replace(/commands\.[jt]s$/, `main${extname(own)}`)

export const sendCommand = (order: SendOrder): Argv => [process.execPath, mainPath, 'send', JSON.stringify(order)]

export const receiveCommand = (order: ReceiveOrder): Argv => [
  process.execPath,
  mainPath,
  'receive',
  JSON.stringify(order),
]
