import { mkdir } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import type { TestEngine } from './engine.ts'

/** A volume plugin on one engine, over plain directories; it notes what the engine asks. */
export interface RecordingPlugin {
  /** `Mount db`, `Unmount db`, `Create db`, ... in order. */
  readonly calls: string[]
  readonly directory: (volume: string) => string
  /** Mounts that answer only when the returned function is called. */
  holdMounts(): () => void
  close(): Promise<void>
}

export const startRecordingPlugin = async (
  engine: Pick<TestEngine, 'directory' | 'pluginDirectory'>,
  options: {
    known?: readonly string[]
    data?: string
    /** Default `drover`. */
    driver?: string
    /** How we reach a path of the engine's, where it lives in other namespaces than we do. */
    reach?: (path: string) => string
  } = {},
): Promise<RecordingPlugin> => {
  const calls: string[] = []
  const volumes = new Set(options.known ?? [])
  const data = options.data ?? join(engine.directory, 'volumes')
  const directory = (volume: string) => join(data, volume)
  const { driver = 'drover', reach = (path: string) => path } = options
  let held: Promise<void> = Promise.resolve()

  const answer = async (method: string, name: string): Promise<object | null> => {
    switch (method) {
      case 'Plugin.Activate':
        return { Implements: ['VolumeDriver'] }
      case 'VolumeDriver.Capabilities':
        return { Capabilities: { Scope: 'global' } }
      case 'VolumeDriver.List':
        return { Volumes: [...volumes].map((Name) => ({ Name })) }
      case 'VolumeDriver.Get':
        return volumes.has(name) ? { Volume: { Name: name, Mountpoint: directory(name) } } : null
      case 'VolumeDriver.Create':
        volumes.add(name)
        return {}
      case 'VolumeDriver.Remove':
        volumes.delete(name)
        return {}
      case 'VolumeDriver.Mount':
        await held
        await mkdir(reach(directory(name)), { recursive: true })
        return { Mountpoint: directory(name) }
      case 'VolumeDriver.Path':
        return { Mountpoint: directory(name) }
      default:
        return {}
    }
  }

  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', async () => {
      const method = (request.url ?? '').slice(1)
      const body = Buffer.concat(chunks).toString() || '{}'
      const name = String((JSON.parse(body) as { Name?: string }).Name ?? '')
      calls.push(`${method.replace('VolumeDriver.', '')} ${name}`.trim())
      const result = await answer(method, name)
      response.statusCode = result === null ? 500 : 200
      response.end(JSON.stringify(result ?? { Err: `no such volume: ${name}` }))
    })
  })
  server.keepAliveTimeout = 0
  await new Promise<void>((resolve) => server.listen(join(engine.pluginDirectory, `${driver}.sock`), resolve))
  return {
    calls,
    directory,
    holdMounts() {
      let release = () => undefined as unknown
      held = new Promise((resolve) => {
        release = () => resolve()
      })
      return () => void release()
    },
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  }
}
