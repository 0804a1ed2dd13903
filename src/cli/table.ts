import Table from 'cli-table3'

const nothing = [
  'top',
  'top-mid',
  'top-left',
  'top-right',
  'bottom',
  'bottom-mid',
  'bottom-left',
  'bottom-right',
] as const
const inner = ['left', 'left-mid', 'mid', 'mid-mid', 'right', 'right-mid', 'middle'] as const
const chars = Object.fromEntries([...nothing, ...inner].map((place) => [place, '']))

/** Plain columns under a heading, one item a line, no borders: made to be read and to be cut by other programs. */
export const table = <T>(items: readonly T[], columns: Readonly<Record<string, (item: T) => string>>): string[] => {
  const layout = new Table({
    head: Object.keys(columns),
    chars,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 3 },
  })
  for (const item of items) layout.push(Object.values(columns).map((cell) => cell(item).replaceAll(/\s+/g, ' ') || '-'))
  return layout
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
}

/** `name: value` lines, the values below each other. */
export const fields = (pairs: Readonly<Record<string, string>>): string[] => {
  const width = Math.max(...Object.keys(pairs).map((name) => name.length)) + 2
  return Object.entries(pairs).map(([name, value]) => `${`${name}:`.padEnd(width)}${value}`.trimEnd())
}
