import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { expect, test } from 'vitest'

/** Ground floor first: a file imports only from its own room and those before it. docs/architecture.md shows the house. */
const rooms = [
  'domain',
  'lib',
  'backends',
  'state',
  'cluster',
  'containers',
  'volumes',
  'migrate',
  'control',
  'volume-plugin',
  'api',
  'cli',
  'daemon',
]

interface Import {
  readonly file: string
  readonly specifier: string
  /** Erased before it runs. */
  readonly typeOnly: boolean
}

const root = join(import.meta.dirname, '../..')
const src = join(root, 'src')
const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))

const patterns = [
  // import ... from 'x', export ... from 'x', over several lines too
  /^(?:import|export)(?<type> type)? [^'"`;()]*?from '(?<specifier>[^']+)'/gms,
  /^import '(?<specifier>[^']+)'/gm,
  /\bimport\('(?<specifier>[^']+)'\)/g,
]

const importsOf = (file: string): Import[] => {
  const text = readFileSync(join(src, file), 'utf8')
  return patterns.flatMap((pattern) =>
    [...text.matchAll(pattern)].map(({ groups }) => ({
      file,
      specifier: groups?.specifier ?? '',
      typeOnly: groups?.type !== undefined,
    })),
  )
}
const imports = files.flatMap(importsOf)

/** daemon.ts, what is in daemon/, and daemon-main.ts stand on top of the house. */
const roomOf = (file: string): string => {
  const [first = ''] = file.split('/')
  return /^daemon(-main)?\.ts$/.test(first) ? 'daemon' : first
}

const targetOf = ({ file, specifier }: Import): string => relative(src, join(src, dirname(file), specifier))

const text = ({ file, specifier }: Import): string => `${file} imports ${specifier}`

test('the house is as this test knows it', () => {
  expect(files.length).toBeGreaterThan(100)
  expect(imports.length).toBeGreaterThan(files.length)
  expect([...new Set(files.map(roomOf))].toSorted()).toEqual(rooms.toSorted())
})

test('a file imports only from the rooms that stand before its own', () => {
  const upward = imports
    .filter(({ specifier }) => specifier.startsWith('.'))
    .filter((each) => {
      const target = targetOf(each)
      // package.json and the like lie outside the house.
      return !target.startsWith('..') && rooms.indexOf(roomOf(target)) > rooms.indexOf(roomOf(each.file))
    })
  expect(upward.map(text)).toEqual([])
})

test('every import within the house names a file that is there, with its ending', () => {
  const lost = imports
    .filter(({ specifier }) => specifier.startsWith('.') && specifier.endsWith('.ts'))
    .filter((each) => !files.includes(targetOf(each)))
  expect(lost.map(text)).toEqual([])
  expect(imports.filter(({ specifier }) => /^\..*(?<!\.ts|\.json)$/.test(specifier)).map(text)).toEqual([])
})

test('only lib starts processes', () => {
  const starters = imports.filter(
    ({ specifier, typeOnly }) => !typeOnly && /^(?:(?:node:)?(?:child_process|cluster)|execa)$/.test(specifier),
  )
  expect([...new Set(starters.map(({ file }) => roomOf(file)))]).toEqual(['lib'])
})

test('a backend knows no HTTP, no Docker and no store', () => {
  const foreign = /^(?:(?:node:)?(?:http|https|http2|net|tls)|express|undici|dockerode|better-sqlite3)$/
  const known = imports.filter(({ file, specifier }) => roomOf(file) === 'backends' && foreign.test(specifier))
  expect(known.map(text)).toEqual([])
})

test('the domain imports nothing but itself', () => {
  const outside = imports.filter((each) => roomOf(each.file) === 'domain' && roomOf(targetOf(each)) !== 'domain')
  expect(outside.map(text)).toEqual([])
})
