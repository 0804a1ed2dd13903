/** One at a time for each key, in the order of asking. */
export class KeyedMutex<Key> {
  readonly #tails = new Map<Key, Promise<void>>()

  async run<T>(key: Key, work: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key) ?? Promise.resolve()
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#tails.set(key, promise)
    await before
    try {
      return await work()
    } finally {
      resolve()
      if (this.#tails.get(key) === promise) this.#tails.delete(key)
    }
  }
}
