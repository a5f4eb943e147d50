/** Wraps a device's handlers for the machine: time is brought up to the access, and whoever listens hears of it. */
import type { IoHandlers } from '@cofferdam/memory'

/** What an access to a device does first and last, and whom it tells. */
export interface Observation {
  /** Brings the devices' clock up to the instruction that makes the access. */
  readonly sync: () => void
  /** Lets the access take so many nanoseconds of virtual time. */
  readonly charge: (time: number) => void
  /** Called after an access, when somebody listens. */
  readonly onAccess?: (name: string, write: boolean, offset: number, size: number, value: number) => void
}

/** The same handlers, observed; each access takes `cost` nanoseconds. */
export function observed(name: string, handlers: IoHandlers, cost: number, observation: Observation): IoHandlers {
  const { sync, charge, onAccess } = observation
  return {
    read(offset, size) {
      sync()
      const value = handlers.read(offset, size)
      onAccess?.(name, false, offset, size, value)
      charge(cost)
      return value
    },
    write(offset, size, value) {
      sync()
      onAccess?.(name, true, offset, size, value)
      handlers.write(offset, size, value)
      charge(cost)
    },
  }
}
