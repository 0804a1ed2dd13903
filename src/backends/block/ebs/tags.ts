/**
 * Whose a volume or snapshot is. What lacks these, or has another cluster's, is never attached, changed or deleted; so Drover needs no more than
 * a policy that grants changes by `aws:ResourceTag/drover:cluster` (docs/ebs.md).
 */
export const tag = {
  cluster: 'drover:cluster',
  /** Drover's own id of the volume. */
  volume: 'drover:volume',
  /** The device, as the notes name it. */
  device: 'drover:device',
  /** Of the volume when it was last written here. Says less than the owner's record, never more: who knows of less is not its owner any more. */
  epoch: 'drover:epoch',
  /** Of a snapshot: which request made it. By its device alone it might be the one before, that describes still show. */
  request: 'drover:request',
} as const

export type Tags = Readonly<Record<string, string>>

export const tagsOf = (cluster: string, device: string, epoch: number): Tags => ({
  [tag.cluster]: cluster,
  [tag.volume]: device.slice(0, device.indexOf('.')),
  [tag.device]: device,
  [tag.epoch]: String(epoch),
})

export const isOwn = (tags: Tags, cluster: string, device: string): boolean =>
  tags[tag.cluster] === cluster && tags[tag.device] === device
