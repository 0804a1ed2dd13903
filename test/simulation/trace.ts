/** What happened, as text to read and as one number to compare runs by. */
export class Trace {
  readonly lines: string[] = []
  readonly #keep: boolean
  readonly #names = new Map<string, string>()
  #one = 0xdeadbeef
  #other = 0x41c6ce57

  constructor(keep: boolean) {
    this.#keep = keep
  }

  add(at: number, text: string): void {
    // Ids are made of real chance; each is shown by the order in which it was first seen.
    const line = `${at.toFixed(3)} ${text.replace(/\b[0-9a-hjkmnp-tv-z]{26}\b/g, (id) => this.#nameOf(id))}`
    for (let index = 0; index < line.length; index += 1) {
      const code = line.charCodeAt(index)
      this.#one = Math.imul(this.#one ^ code, 2654435761)
      this.#other = Math.imul(this.#other ^ code, 1597334677)
    }
    if (this.#keep) this.lines.push(line)
  }

  get hash(): string {
    return `${(this.#one >>> 0).toString(16).padStart(8, '0')}${(this.#other >>> 0).toString(16).padStart(8, '0')}`
  }

  #nameOf(id: string): string {
    const known = this.#names.get(id)
    if (known !== undefined) return known
    const name = `#${this.#names.size + 1}`
    this.#names.set(id, name)
    return name
  }
}
