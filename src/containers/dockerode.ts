import { createRequire } from 'node:module'
import type DockerodeClass from 'dockerode'

/*
 * dockerode loads, with its first line, what speaks to BuildKit (gRPC, protobuf) and its modem what speaks ssh: 10 MiB and a tenth of a
 * second that every `vold` and every command it starts would pay (a fork copies what is resident). Drover builds no images and speaks to
 * a socket of its own host, so both are left out.
 */

const leaveOut = (require: NodeJS.Require, path: string, what: string): void => {
  const id = require.resolve(path)
  const refuse = () => {
    throw new Error(`${what} is left out of Drover's dockerode`)
  }
  require.cache[id] ??= Object.assign(Object.create(null), { id, filename: id, loaded: true, exports: refuse })
}

const require = createRequire(import.meta.url)
const ofDockerode = createRequire(require.resolve('dockerode'))
const ofModem = createRequire(ofDockerode.resolve('docker-modem'))
leaveOut(ofDockerode, './session', 'a BuildKit session')
leaveOut(ofModem, './ssh', 'an engine over ssh')

export type Dockerode = DockerodeClass
export const Dockerode: typeof DockerodeClass = require('dockerode')
