import { createServer } from 'node:http'

/** A request and its answer, as they went over the wire. */
export interface Exchange {
  readonly action: string
  readonly parameters: readonly string[]
  readonly status: number
  readonly xml: string
}

/** Passes everything on to a server that speaks EC2's protocol, and keeps it. */
export const recordingProxy = async (target: string) => {
  const exchanges: Exchange[] = []
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    const { authorization = '', 'content-type': type = '' } = request.headers
    const answer = await fetch(target, { method: 'POST', body, headers: { authorization, 'content-type': type } })
    const xml = await answer.text()
    const form = new URLSearchParams(body)
    exchanges.push({ action: form.get('Action') ?? '', parameters: [...form.keys()], status: answer.status, xml })
    response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? 'text/xml' }).end(xml)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the proxy does not listen')
  return {
    ...{ exchanges, endpoint: `http://127.0.0.1:${address.port}` },
    close: () => {
      server.closeAllConnections()
      return new Promise((resolve) => server.close(resolve))
    },
  }
}

/** What a value looks like, whatever it is. */
const shapeOf = (text: string): string => {
  if (text === 'true' || text === 'false') return 'boolean'
  if (/^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(text)) return 'time'
  if (/^\d{12}$/.test(text)) return 'account'
  if (/^\d+$/.test(text)) return 'number'
  const [, id] = /^(vol|snap|i)-[0-9a-f]{17}$/.exec(text) ?? []
  return id === undefined ? 'text' : `id of ${id}`
}

/** Elements of an answer by their path, with the shapes of what stands in them; `empty` where nothing does. */
export const elementsIn = (xml: string): Map<string, Set<string>> => {
  const found = new Map<string, Set<string>>()
  const path: string[] = []
  let leaf: string | null = null
  for (const [, close, name = '', self, text] of xml.matchAll(/<(\/?)([A-Za-z][\w:]*)[^>]*?(\/?)>([^<]*)/g)) {
    if (close === '/') {
      if (leaf !== null) add(found, path.join('/'), leaf)
      leaf = null
      path.pop()
      continue
    }
    path.push(name)
    leaf = text?.trim() ?? ''
    if (self === '/') {
      add(found, path.join('/'), '')
      path.pop()
      leaf = null
    }
  }
  return found
}

const add = (found: Map<string, Set<string>>, path: string, text: string): void => {
  const shapes = found.get(path) ?? new Set()
  found.set(path, shapes.add(text === '' ? 'empty' : shapeOf(text)))
}
