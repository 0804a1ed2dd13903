import { formatDuration } from '../src/domain/units.ts'

/** What the demo says, and which of its claims held. */
export class Stage {
  readonly #startedAt = performance.now()
  #failed = 0
  #isOver = false

  /** A new part begins. */
  part(title: string): void {
    this.#say(`\n== ${title}  (${formatDuration(performance.now() - this.#startedAt)})`)
  }

  tell(line: string): void {
    this.#say(`   ${line}`)
  }

  command(host: string, argv: readonly string[]): void {
    this.#say(`   ${host}# ${argv.map((word) => (/^[\w./:=@%+,-]+$/.test(word) ? word : `'${word}'`)).join(' ')}`)
  }

  /** Says whether it holds; one that does not makes the demo fail. */
  claim(holds: boolean, what: string): void {
    if (!holds) this.#failed += 1
    this.#say(`   ${holds ? 'ok' : 'NOT TRUE'}: ${what}`)
  }

  /** Broken off: what is still under way has nothing more to say. */
  fall(): void {
    this.#isOver = true
  }

  /** @returns the exit status */
  end(): number {
    const took = formatDuration(performance.now() - this.#startedAt)
    console.log(
      this.#failed === 0 ? `\nEvery claim held. (${took})` : `\n${this.#failed} of the claims did not hold. (${took})`,
    )
    return this.#failed === 0 ? 0 : 1
  }

  #say(line: string): void {
    if (!this.#isOver) console.log(line)
  }
}
