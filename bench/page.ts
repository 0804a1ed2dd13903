import { type Section, summary } from './report.ts'

/** By hand from `npm run bench -- --guest`, at the end of the page. */
const guestHeading = '\n## ZFS, in a guest\n'

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
