import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { errorKinds } from '../../src/domain/errors.ts'
import { phases } from '../../src/domain/move.ts'

const root = join(import.meta.dirname, '../..')
const read = (path: string): string => readFileSync(join(root, path), 'utf8')

/** Sections of a page by their heading of that level. */
const sections = (page: string, level: number): Map<string, string> => {
  const parts = page.split(new RegExp(`^${'#'.repeat(level)} `, 'm')).slice(1)
  return new Map(
    parts.map((part) => {
      const [heading = '', ...body] = part.split('\n')
      return [heading.replaceAll('`', '').trim(), body.join('\n')]
    }),
  )
}

describe('docs/errors.md', () => {
  const told = sections(read('docs/errors.md'), 3)

  test('tells every code of the table, and no other', () => {
    expect([...told.keys()].toSorted()).toEqual(Object.keys(errorKinds).toSorted())
  })

  test.each(Object.entries(errorKinds))(
    '%s: status, exit status, retryable and title are those of the table',
    (code, kind) => {
      const section = told.get(code) ?? ''
      const line = `HTTP ${kind.status}, exit ${kind.exit}, ${kind.retryable ? 'retryable' : 'not retryable'}. ${kind.title}.`
      expect(section).toContain(line)
      expect(section, 'it says what to do').toMatch(/\*\*What to do:\*\* \S/)
    },
  )
})

test('docs/move-protocol.md tells every phase', () => {
  const told = sections(read('docs/move-protocol.md'), 3)
  expect([...told.keys()].filter((heading) => phases.some((phase) => phase === heading))).toEqual([...phases])
})

describe('links between the pages', () => {
  const pages = [
    ...['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md'],
    ...readdirSync(join(root, 'docs')).map((name) => join('docs', name)),
  ].filter((path) => path.endsWith('.md'))

  /** As forges make them of headings. */
  const anchors = (page: string): string[] =>
    [...page.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\w\- ]/g, '')
        .replaceAll(' ', '-'),
    )

  test.each(pages)('%s', (path) => {
    const links = [...read(path).matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = '']) => link)
    const broken = links
      .filter((link) => !/^[a-z]+:/.test(link))
      .filter((link) => {
        const [file = '', anchor] = link.split('#')
        const target = file === '' ? path : join(dirname(path), file)
        if (!existsSync(join(root, target))) return true
        return anchor !== undefined && !anchors(read(target)).includes(anchor)
      })
    expect(broken).toEqual([])
  })
})
