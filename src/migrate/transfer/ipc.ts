import type { ReceiveSpec, SendSpec, TlsIdentity, TransferResult } from '../transfer.ts'

/** From `vold` to a transfer process. A socket rides beside `socket`; `go` follows once `vold` has closed its own copy of it. */
export type Order =
  | { readonly kind: 'send'; readonly spec: SendSpec; readonly identity: TlsIdentity }
  | { readonly kind: 'receive'; readonly spec: ReceiveSpec; readonly identity: TlsIdentity }
  /** Nothing to do yet: run through everything once, so that the real order finds its code compiled. */
  | { readonly kind: 'rehearse'; readonly identity: TlsIdentity }
  | { readonly kind: 'socket'; readonly channel: Channel; readonly connection: number }
  | { readonly kind: 'go'; readonly connection: number }
  | { readonly kind: 'abort'; readonly reason: string }

/** What a connection on the data port is for; `status` stands beside `data` on trusted plain links only. */
export type Channel = 'data' | 'status'

/** From a transfer process to its `vold`. After `done` the process waits for another order, after `failed` it ends. */
export type Report =
  | { readonly kind: 'progress'; readonly bytes: number }
  | { readonly kind: 'done'; readonly result: TransferResult }
  | { readonly kind: 'failed'; readonly message: string; readonly details: Readonly<Record<string, unknown>> }
