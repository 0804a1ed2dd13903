/** Answers in the order of the items, so many under way at a time. */
export async function* ahead<T, R>(
  items: AsyncIterable<T>,
  most: number,
  start: (item: T) => Promise<R>,
): AsyncGenerator<R, void> {
  const running: Promise<R>[] = []
  for await (const item of items) {
    const one = start(item)
    // Who waits for it hears of it; who has stopped waiting need not.
    one.catch(() => {})
    running.push(one)
    const first = running.length < most ? undefined : running.shift()
    if (first !== undefined) yield await first
  }
  for (const one of running) yield await one
}
