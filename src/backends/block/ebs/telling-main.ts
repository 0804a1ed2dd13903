import { createReadStream } from 'node:fs'
import { writeDurably } from '../../../lib/files.ts'
import { longestTelling } from './told-snapshot.ts'

/*
 * The process of one end of a stream that only names a snapshot: `telling-main tell TEXT` writes the text to stdout, `telling-main note FILE` writes
 * what comes on stdin to the file, durably, when that has ended.
 */

const [what, argument = ''] = process.argv.slice(2)

const told = async (): Promise<string> => {
  let text = ''
  for await (const chunk of createReadStream('', { fd: 0, encoding: 'utf8' })) {
    text += chunk
    if (text.length > longestTelling) throw new Error(`the stream has more than the ${longestTelling} bytes of one`)
  }
  return text
}

try {
  if (what === 'tell') process.stdout.write(argument)
  else if (what === 'note') await writeDurably(argument, await told())
  else throw new Error(`${what} is neither tell nor note`)
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
}
