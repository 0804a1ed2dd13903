import { tryRun } from '../command.ts'

export interface Mirror {
  readonly url: string
  /** Version and date of the suite there, which name the versions of all its packages. */
  readonly release: string
}

/**
 * The first of the places that this machine's own apt sources name which has Debian's `suite`, whatever suite the machine itself runs.
 * Before the first `apt-get update` too: apt knows its sources without their lists.
 */
export const findMirror = async (suite: string): Promise<Mirror | { readonly problem: string }> => {
  const { stdout } = await tryRun(['apt-get', 'indextargets', '--format', '$(REPO_URI)', 'Created-By: Packages'])
  const urls = [...new Set(stdout.split('\n').filter((url) => /^https?:/.test(url)))]
  if (urls.length === 0) return { problem: "this machine's apt sources name no mirror to build a Debian guest from" }
  for (const url of urls) {
    const release = await releaseOf(url, suite)
    if (release !== null) return { url, release }
  }
  return { problem: `none of this machine's apt sources answers with Debian ${suite}: ${urls.join(', ')}` }
}

/** Null: it does not answer, or has no such suite of Debian's. */
const releaseOf = async (url: string, suite: string): Promise<string | null> => {
  const file = `${url.replace(/\/?$/, '/')}dists/${suite}/Release`
  const curl = ['curl', '--fail', '--silent', '--show-error', '--location', '--max-time', '60', file]
  const { exitCode, stdout } = await tryRun(curl)
  if (exitCode !== 0 || !/^Origin: Debian$/m.test(stdout) || !/^Components:.*\bcontrib\b/m.test(stdout)) return null
  return (stdout.match(/^(Version|Date): .*$/gm) ?? []).join('\n')
}
