import { type Section, summary } from './report.ts'

/** Of `npm run bench -- --guest`, at the end of the page. */
const guestHeading = '\n## ZFS, in a guest\n'
/** On a line of its own before and after what a guest has measured, in all that it prints. */
export const guestMark = '<!-- measured in the guest -->'

/** What another command measured stays as it is. */
export const guestSectionOf = (text: string): string => {
  const at = text.indexOf(guestHeading)
  return at < 0 ? '' : text.slice(at)
}

/** docs/benchmarks.md, made anew by every full run. @param guest the end of the page as it was */
export const page = (
  machine: string,
  took: string,
  sections: readonly Section[],
  guest: string,
): string => `# Benchmarks

Written by \`npm run bench\`, which took ${took}; change the programs in \`bench/\`, not this page. Two hosts share one machine, so that both
ends of a move, the client and what is compared with it compete for the same cores: only ratios within this run mean anything,
and differences under 10% do not. Figures are medians with the smallest and the largest in brackets.

${machine}

## Summary

${summary(sections)}

${sections.map(({ title, body }) => `## ${title}\n\n${body}`).join('\n\n')}
${guest}`

/** What a whole run in the guest said in the end; null: it was of a part. */
export const measuredIn = (output: string): string | null => output.split(`\n${guestMark}\n`)[1] ?? null

/** The page with what was measured in a guest in place of what was before. @param where commit and machine, a sentence */
export const withGuestSection = (text: string, measured: string, where: string): string => {
  const at = text.indexOf(guestHeading)
  const before = at < 0 ? `${text.trimEnd()}\n` : text.slice(0, at)
  return `${before}${guestHeading}
Written by \`npm run bench -- --guest\`. ${where} What is compared took turns in one run, in an order drawn anew each time, the first of each not counted; only the ratios mean
anything, and less than the ones above. Both sides of the data phase end with a \`zpool sync\`; socat runs as \`-u -b 1048576\`, in TLS with a certificate at each end. syncoid goes from dataset to dataset
through a pipe and mbuffer, newest snapshot only; Drover as a round of a move does, over TCP on a trusted link.

${measured}
`
}
