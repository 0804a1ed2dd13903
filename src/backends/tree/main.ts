import { type ReceiveOrder, receiveTree } from './receive.ts'
import { type SendOrder, sendTree } from './send.ts'

/* The process of one end of a tree stream: `main send ORDER` writes it to stdout, `main receive ORDER` reads it from stdin. */

const [what, text = '{}'] = process.argv.slice(2)

try {
  if (what === 'send') await sendTree(JSON.parse(text) as SendOrder, 1)
  else if (what === 'receive') await receiveTree(JSON.parse(text) as ReceiveOrder, 0)
  else throw new Error(`${what} is neither send nor receive`)
  process.exit(0)
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`, () => process.exit(1))
}
