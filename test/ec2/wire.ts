/** EC2's query protocol: parameters in a form, answers in XML. */

/** An error as EC2 tells it. `code`: one of AWS's own. */
export class Ec2Error extends Error {
  readonly code: string
  readonly status: number

  constructor(code: string, message: string, status = 400) {
    super(message)
    this.code = code
    this.status = status
  }
}

/** `Filter.1.Value.2=x`: parameters of one request. */
export class Parameters {
  readonly #fields: URLSearchParams

  constructor(body: string) {
    this.#fields = new URLSearchParams(body)
  }

  text(name: string): string | null {
    return this.#fields.get(name)
  }

  /** @throws MissingParameter */
  must(name: string): string {
    const found = this.text(name)
    if (found !== null && found !== '') return found
    throw new Ec2Error('MissingParameter', `The request must contain the parameter ${name}`)
  }

  number(name: string): number | null {
    const text = this.text(name)
    if (text === null) return null
    if (/^\d+$/.test(text)) return Number(text)
    throw new Ec2Error('InvalidParameterValue', `Value (${text}) for parameter ${name} is invalid.`)
  }

  /** `NAME.1`, `NAME.2` and so on. */
  list(name: string): string[] {
    const found: string[] = []
    for (let index = 1; ; index += 1) {
      const each = this.text(`${name}.${index}`)
      if (each === null) return found
      found.push(each)
    }
  }

  /** Below `NAME.1.`, `NAME.2.` and so on. */
  groups(name: string): Parameters[] {
    const found: Parameters[] = []
    for (let index = 1; ; index += 1) {
      const start = `${name}.${index}.`
      const fields = new URLSearchParams()
      for (const [key, value] of this.#fields) if (key.startsWith(start)) fields.append(key.slice(start.length), value)
      if (fields.size === 0) return found
      found.push(new Parameters(fields.toString()))
    }
  }

  /** All but these, in order: two requests are the same when these texts are. */
  without(...names: readonly string[]): string {
    return [...this.#fields]
      .filter(([name]) => !names.includes(name))
      .map(([name, value]) => `${name}=${value}`)
      .toSorted()
      .join('&')
  }

  get all(): Readonly<Record<string, string>> {
    return Object.fromEntries(this.#fields)
  }
}

/** Lists become `<item>`s; null and undefined are left out. */
export type Answer =
  | string
  | number
  | boolean
  | null
  | undefined
  | readonly Answer[]
  | { readonly [name: string]: Answer }

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')

const element = (name: string, value: Answer): string => {
  if (value === null || value === undefined) return ''
  return `<${name}>${content(value)}</${name}>`
}

const content = (value: Exclude<Answer, null | undefined>): string => {
  if (Array.isArray(value)) return value.map((each: Answer) => element('item', each)).join('')
  if (typeof value !== 'object') return escaped(String(value))
  return Object.entries(value)
    .map(([name, each]) => element(name, each))
    .join('')
}

const declaration = '<?xml version="1.0" encoding="UTF-8"?>\n'

export const answerXml = (action: string, requestId: string, answer: Readonly<Record<string, Answer>>): string =>
  `${declaration}<${action}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">${content({ requestId, ...answer })}</${action}Response>`

export const errorXml = (error: Ec2Error, requestId: string): string =>
  `${declaration}<Response><Errors>${element('Error', { Code: error.code, Message: error.message })}</Errors>${element('RequestID', requestId)}</Response>`
