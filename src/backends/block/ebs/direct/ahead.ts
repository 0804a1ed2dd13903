/** Answers in the order of the items, so many under way at a time. What fails is told at once, whatever is before it. */
export async function* ahead<T, R>(
  items: AsyncIterable<T>,
  most: number,
  start: (item: T) => Promise<R>,
): AsyncGenerator<R, void> {
  const running: Promise<R>[] = []
  let failure: { readonly error: unknown } | null = null
  let tell: (error: unknown) => void = () => {}
  const fail = (error: unknown) => {
    failure ??= { error }
    tell(error)
  }
  const answerOf = (one: Promise<R>): Promise<R> => {
    const { promise, resolve, reject } = Promise.withResolvers<R>()
    tell = reject
    if (failure !== null) reject(failure.error)
    one.then(resolve, reject)
    return promise
  }
  for await (const item of items) {
    const one = start(item)
    one.catch(fail)
    running.push(one)
    const first = running.length < most ? undefined : running.shift()
    if (first !== undefined) yield await answerOf(first)
  }
  for (const one of running) yield await answerOf(one)
}
