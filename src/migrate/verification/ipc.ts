import type { Position } from '../../lib/tree-digest/items.ts'
import type { ItemView } from './tree-digests.ts'

/** From `vold` to a process that reads a snapshot. */
export type Order =
  | { readonly kind: 'digest'; readonly top: string; readonly file: string; readonly of: string }
  | { readonly kind: 'list'; readonly top: string; readonly start: Position }

/** Back; after all but `progress` its work is done. */
export type Report =
  | { readonly kind: 'progress'; readonly entries: number; readonly bytes: number }
  | {
      readonly kind: 'done'
      readonly entries: number
      readonly bytes: number
      readonly digest: string
      readonly unreadable: readonly string[]
    }
  | { readonly kind: 'items'; readonly items: ItemView[] }
  | { readonly kind: 'failed'; readonly message: string }
