import type { Files } from '../../src/lib/files.ts'
import type { SimProcess } from './process.ts'

/** The data directory: small files, each durable when it is written. */
export class Disk {
  readonly files = new Map<string, string>()

  for(process: SimProcess): Files {
    return {
      readIfExists: (path) => process.look(() => this.files.get(path) ?? null),
      writeJsonDurably: (path, value) => {
        const text = JSON.stringify(value)
        return process.change(`file ${nameOf(path)}`, () => void this.files.set(path, text))
      },
      ensureDirectory: async () => {},
      list: (path) =>
        process.look(() =>
          [...this.files.keys()]
            .filter((name) => name.startsWith(`${path}/`))
            .map((name) => name.slice(path.length + 1)),
        ),
      remove: (path) => process.change(`remove ${nameOf(path)}`, () => void this.files.delete(path)),
    }
  }
}

const nameOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1).replace(/^[0-9a-z]{26}\./, '*.')
