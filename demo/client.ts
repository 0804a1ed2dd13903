/**
 * client.ts FILE ADDR:PORT...: commits numbered rows, one after the other, and notes in FILE each that was acknowledged, as
 * `NUMBER MILLISECONDS ADDR:PORT`. When the database is gone it tries all addresses, side by side. It ends with its standard input.
 */
import { closeSync, openSync, writeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Connection } from './wire.ts'

const [file = '', ...addresses] = process.argv.slice(2)
/** Between two tries of one address. Tries overlap: a host that swallows what it is sent holds up no other, and no later try. */
const retryMs = 25
let ending = false
process.stdin.on('end', () => {
  ending = true
})
process.stdin.resume()

interface Reached {
  readonly address: string
  readonly connection: Connection
}

/** The first connection that the database takes, whichever address it is at; the other tries are given up. Null at the end. */
const reach = async (): Promise<Reached | null> => {
  let reached: Reached | null = null
  const attempt = async (address: string) => {
    const [host = '', port] = address.split(':')
    try {
      const connection = await Connection.open(host, Number(port))
      if (reached === null) reached = { address, connection }
      else connection.close()
    } catch {
      // Refused, starting up, shutting down, silent: another try is under way or follows.
    }
  }
  while (reached === null && !ending) {
    for (const address of addresses) void attempt(address)
    await sleep(retryMs)
  }
  return reached
}

const notes = openSync(file, 'w')
let next = 1
while (!ending) {
  const reached = await reach()
  if (reached === null) break
  const { address, connection } = reached
  try {
    while (!ending) {
      // A number whose outcome is unknown is never tried again: a row is either noted here or nobody was told of it.
      const number = next++
      await connection.query(`INSERT INTO walk (n) VALUES (${number})`)
      writeSync(notes, `${number} ${performance.now().toFixed(1)} ${address}\n`)
    }
  } catch (error) {
    console.error(`row ${next - 1}: ${error instanceof Error ? error.message : error}`)
  }
  connection.close()
}
closeSync(notes)
process.exit(0)
