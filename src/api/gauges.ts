import { Gauge, type Registry } from 'prom-client'
import type { Control } from '../control/control.ts'

/** What an operator watches, read from the control role when it is asked for; on other hosts there is nothing to tell. */
export const registerGauges = (registry: Registry, control: () => Control | null): void => {
  const gauge = (
    name: string,
    help: string,
    labelNames: string[],
    read: (control: Control, self: Gauge) => Promise<void>,
  ) =>
    new Gauge({
      name,
      help,
      labelNames,
      registers: [registry],
      async collect() {
        this.reset()
        const role = control()
        if (role !== null) await read(role, this)
      },
    })
  gauge('drover_volumes', 'Volumes by owner', ['host'], async (role, self) => {
    for (const { owner } of await role.volumes()) self.inc({ host: owner })
  })
  gauge('drover_moves_open', 'Moves under way by phase', ['phase'], async (role, self) => {
    for (const { phase } of await role.moves({ open: true })) self.inc({ phase })
  })
  gauge('drover_pool_free_bytes', 'Free bytes of a pool', ['host', 'pool'], async (role, self) => {
    for (const { host, spec, freeBytes } of await role.pools()) self.set({ host, pool: spec }, freeBytes)
  })
}
