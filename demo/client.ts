/**
 * client.ts FILE ADDR:PORT...: commits numbered rows, one after the other, and notes in FILE each that was acknowledged, as
 * `NUMBER MILLISECONDS ADDR:PORT`. When the database is gone it tries the addresses in turn. It ends with its standard input.
 */
import { closeSync, openSync, writeSync } from 'node:fs'
import { Connection } from './wire.ts'

const [file = '', ...addresses] = process.argv.slice(2)
const retryMs = 10
let ending = false
process.stdin.on('end', () => {
  ending = true
})
process.stdin.resume()

const reach = async (address: string): Promise<Connection | null> => {
  const [host = '', port] = address.split(':')
  try {
    return await Connection.open(host, Number(port))
  } catch {
    return null // refused, starting up, shutting down: the next address
  }
}

const notes = openSync(file, 'w')
let next = 1
for (let turn = 0; !ending; turn += 1) {
  const address = addresses[turn % addresses.length] ?? ''
  const connection = await reach(address)
  try {
    while (connection !== null && !ending) {
      // A number whose outcome is unknown is never tried again: a row is either noted here or nobody was told of it.
      const number = next++
      await connection.query(`INSERT INTO walk (n) VALUES (${number})`)
      writeSync(notes, `${number} ${performance.now().toFixed(1)} ${address}\n`)
    }
  } catch (error) {
    console.error(`row ${next - 1}: ${error instanceof Error ? error.message : error}`)
  }
  connection?.close()
  await new Promise((resolve) => setTimeout(resolve, retryMs))
}
closeSync(notes)
process.exit(0)
