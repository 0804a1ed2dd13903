import { Connection } from '../../../demo/wire.ts'
import { sleep, until } from '../../../lab/command.ts'

const port = 5432
/** An emulated server takes its time for a connection. */
const connectMs = 20_000
const betweenMs = 250

/** Commits numbered rows, one after the other, wherever the database is, and keeps in mind which were acknowledged, and where. */
export class Writer {
  readonly #addresses: readonly string[]
  readonly #acknowledged: { number: number; address: string }[] = []
  #isEnding = false
  #over: Promise<void> = Promise.resolve()

  private constructor(addresses: readonly string[]) {
    this.#addresses = addresses
  }

  /** Makes the table as soon as there is a database. */
  static async start(addresses: readonly string[]): Promise<Writer> {
    const writer = new Writer(addresses)
    const { connection } = await until('a database', () => writer.#reach(), { timeoutMs: 600_000, intervalMs: 1000 })
    await connection.query('CREATE TABLE walk (n bigint PRIMARY KEY)')
    connection.close()
    writer.#over = writer.#write()
    return writer
  }

  /** Resolves when so many more rows have been acknowledged there. @throws {LabError} after ten minutes */
  async moreAt(address: string, count: number): Promise<void> {
    const there = () => this.#acknowledged.filter((row) => row.address === address).length
    const before = there()
    await until(`${count} rows at ${address}`, () => (there() >= before + count ? true : null), {
      timeoutMs: 600_000,
      intervalMs: 250,
    })
  }

  /** @returns all that was acknowledged */
  async stop(): Promise<number[]> {
    this.#isEnding = true
    await this.#over
    return this.#acknowledged.map(({ number }) => number)
  }

  async #reach(): Promise<{ connection: Connection; address: string } | null> {
    for (const address of this.#addresses) {
      try {
        return { connection: await Connection.open(address, port, connectMs), address }
      } catch {
        // Refused, starting up, shutting down: it may be at the other one.
      }
    }
    return null
  }

  async #write(): Promise<void> {
    for (let next = 1; !this.#isEnding; ) {
      const reached = await this.#reach()
      if (reached === null) {
        await sleep(betweenMs)
        continue
      }
      const { connection, address } = reached
      try {
        while (!this.#isEnding) {
          // A number whose outcome is unknown is never tried again.
          const number = next++
          await connection.query(`INSERT INTO walk (n) VALUES (${number})`)
          this.#acknowledged.push({ number, address })
          await sleep(betweenMs)
        }
      } catch (error) {
        console.log(`row ${next - 1} at ${address}: ${error instanceof Error ? error.message : error}`)
      }
      connection.close()
    }
  }
}
