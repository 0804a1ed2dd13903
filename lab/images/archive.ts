import { createHash } from 'node:crypto'
import {
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { run } from '../command.ts'
import { cacheDirectory, withLock } from '../state.ts'

export interface ImageRecipe {
  readonly name: string
  /** Everything that the result depends on; another key, another image. */
  readonly key: string
  /** As in the image's configuration: Env, Cmd, Entrypoint, ... */
  readonly config: Readonly<Record<string, unknown>>
  /** Fills an empty directory with the root file system; `work` is for what it needs on the way. */
  fill(root: string, work: string): Promise<void>
}

const digestOf = async (file: string): Promise<string> => {
  const hash = createHash('sha256')
  await pipeline(createReadStream(file, { highWaterMark: 2 ** 20 }), hash)
  return hash.digest('hex')
}

/**
 * The path of a `docker load` archive, made once a machine. `docker import` would do for the files, but engine 20.10 takes no
 * STOPSIGNAL there, and gives every import another id: hosts could not tell that they have the same image.
 */
export const cachedArchive = async (recipe: ImageRecipe): Promise<string> => {
  const key = createHash('sha256').update(recipe.key).update(JSON.stringify(recipe.config)).digest('hex').slice(0, 16)
  const directory = join(cacheDirectory(), 'images')
  const file = join(directory, `${recipe.name}-${key}.tar`)
  if (existsSync(file)) return file
  return withLock(`image-${recipe.name}`, async () => {
    if (existsSync(file)) return file
    mkdirSync(directory, { recursive: true })
    for (const old of readdirSync(directory)) {
      if (old.startsWith(`${recipe.name}-`) || old.startsWith(`.${recipe.name}-`)) {
        rmSync(join(directory, old), { recursive: true, force: true })
      }
    }
    const work = mkdtempSync(join(directory, `.${recipe.name}-`))
    try {
      await build(recipe, work)
      renameSync(join(work, 'image.tar'), file)
    } finally {
      rmSync(work, { recursive: true, force: true })
    }
    return file
  })
}

const build = async (recipe: ImageRecipe, work: string): Promise<void> => {
  const root = join(work, 'root')
  const image = join(work, 'image')
  mkdirSync(root, { mode: 0o755 })
  mkdirSync(image)
  await recipe.fill(root, work)
  const layer = join(image, 'layer.tar')
  await run([
    ...['tar', '--create', '--file', layer, '--directory', root, '--sort=name', '--mtime=@0', '--numeric-owner'],
    ...['--xattrs', '--one-file-system', '.'],
  ])
  const created = '2023-06-10T00:00:00Z'
  const config = JSON.stringify({
    architecture: 'amd64',
    os: 'linux',
    created,
    config: recipe.config,
    rootfs: { type: 'layers', diff_ids: [`sha256:${await digestOf(layer)}`] },
    history: [{ created, created_by: `drover lab: ${recipe.name}` }],
  })
  const configFile = `${createHash('sha256').update(config).digest('hex')}.json`
  writeFileSync(join(image, configFile), config)
  const manifest = [{ Config: configFile, RepoTags: [`${recipe.name}:latest`], Layers: ['layer.tar'] }]
  writeFileSync(join(image, 'manifest.json'), JSON.stringify(manifest))
  await run(['tar', '--create', '--file', join(work, 'image.tar'), '--directory', image, '.'])
}
