import { Input, keepStdinForReads, keepStdoutForWrites, Output } from '../../../lib/descriptor-io.ts'
import { type ReceiveOrder, receiveBlocks } from './receive.ts'
import { type SendOrder, sendBlocks } from './send.ts'

/*
 * The process of one end of a stream: `main send ORDER` writes it to stdout, `main receive ORDER` reads it from stdin. Only what it
 * needs is loaded: an incremental round is over in a tenth of a second.
 */

const [what, text = '{}'] = process.argv.slice(2)

keepStdinForReads()
keepStdoutForWrites()
try {
  if (what === 'send') await sendBlocks(JSON.parse(text) as SendOrder, new Output(1))
  else if (what === 'receive') await receiveBlocks(JSON.parse(text) as ReceiveOrder, new Input(0))
  else throw new Error(`${what} is neither send nor receive`)
} catch (error) {
  // What else is under way is not waited for.
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`, () => process.exit(1))
}
