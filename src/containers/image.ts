import type { Readable } from 'node:stream'
import { DroverError } from '../domain/errors.ts'
import type { Clock } from '../lib/clock.ts'
import { type DockerClient, getJson, orNull, quickMs } from './docker-client.ts'
import { failOnSilence } from './silence.ts'

const silenceMs = 300_000
/** An engine unpacks in silence once it has the tar: a large image on a slow disk takes its time, but no day. */
const loadMs = 6 * 3_600_000
const progressTailChars = 65_536

const inspectImage = (client: DockerClient, name: string): Promise<{ Id: string } | null> =>
  orNull(client.call(`inspect image ${name}`, quickMs, getJson<{ Id: string }>(`/images/${name}/json`)))

export const hasImage = async (client: DockerClient, imageId: string): Promise<boolean> =>
  (await inspectImage(client, imageId)) !== null

/** The name that people know the image by, if it is the same image here; else its id. */
export const imageNameHere = async (client: DockerClient, imageId: string, imageName: string): Promise<string> =>
  (await inspectImage(client, imageName))?.Id === imageId ? imageName : imageId

/** Saved by id: a tar that carries a name would take that name away from the image that has it on the target. */
export const saveImage = async (client: DockerClient, clock: Clock, name: string): Promise<NodeJS.ReadableStream> => {
  const image = await inspectImage(client, name)
  if (image === null) {
    throw new DroverError(
      'DOCKER_FAILED',
      `image ${name} is not in this engine any more; load it again, or pull it on the target`,
      { details: { status: 404 } },
    )
  }
  const what = `save image ${name}`
  const tar = await client.call(what, silenceMs, (docker) => docker.getImage(image.Id).get())
  return failOnSilence(clock, tar as Readable, what, silenceMs)
}

export const loadImage = async (
  client: DockerClient,
  clock: Clock,
  tar: NodeJS.ReadableStream,
  imageId: string,
  imageName: string,
): Promise<void> => {
  const what = `load image ${imageName}`
  const source = failOnSilence(clock, tar as Readable, what, silenceMs)
  try {
    const failure = await client.call(what, loadMs, async (docker, abortSignal) =>
      readFailure(await docker.loadImage(source, { abortSignal })),
    )
    if (failure !== null) throw new DroverError('DOCKER_FAILED', `Docker refused to ${what}: ${failure}`)
  } catch (error) {
    throw source.errored ?? error
  } finally {
    source.destroy()
  }
  if (!(await hasImage(client, imageId))) {
    throw new DroverError(
      'DOCKER_FAILED',
      `image ${imageName} was loaded, but not as ${imageId}: the two engines store images differently; pull it on the target`,
    )
  }
  await tagIfFree(client, imageId, imageName)
}

/** The engine answers 200 at once and tells of a failure in its stream of JSON lines. */
const readFailure = async (answer: NodeJS.ReadableStream): Promise<string | null> => {
  let tail = ''
  for await (const chunk of answer) tail = (tail + String(chunk)).slice(-progressTailChars)
  return /"error"\s*:\s*"((?:[^"\\]|\\.)*)"/.exec(tail)?.[1] ?? null
}

/** A name by digest cannot be given, and one that is taken stays with the image that has it. */
const tagIfFree = async (client: DockerClient, imageId: string, imageName: string): Promise<void> => {
  if (imageName.includes('@') || isIdOf(imageName, imageId)) return
  if ((await inspectImage(client, imageName)) !== null) return
  const colon = imageName.lastIndexOf(':')
  const hasTag = colon > imageName.lastIndexOf('/')
  const repo = hasTag ? imageName.slice(0, colon) : imageName
  const tag = hasTag ? imageName.slice(colon + 1) : 'latest'
  await client.call(`tag image ${imageId} as ${imageName}`, quickMs, (docker, abortSignal) =>
    docker.getImage(imageId).tag({ repo, tag, abortSignal }),
  )
}

const isIdOf = (name: string, imageId: string): boolean =>
  name.startsWith('sha256:') || (/^[0-9a-f]{12,64}$/.test(name) && imageId.startsWith(`sha256:${name}`))
