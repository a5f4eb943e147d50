/** Wraps a device's handlers for the machine: time is brought up to the access, and whoever listens hears of it. */
import type { IoHandlers } from '@cofferdam/memory'

/** What an access to a device does first, and whom it tells. */
export interface Observation {
  /** Brings the devices' clock up to the instruction that makes the access. */
  readonly sync: () => void
  /** Called after an access, when somebody listens. */
  readonly onAccess?: (name: string, write: boolean, offset: number, size: number, value: number) => void
}

/** The same handlers, observed. Without a listener they cost one call more than the device's own. */
export function observed(name: string, handlers: IoHandlers, { sync, onAccess }: Observation): IoHandlers {
  if (onAccess === undefined) {
    return {
      read(offset, size) {
        sync()
        return handlers.read(offset, size)
      },
      write(offset, size, value) {
        sync()
        handlers.write(offset, size, value)
      },
    }
  }
  return {
    read(offset, size) {
      sync()
      const value = handlers.read(offset, size)
      onAccess(name, false, offset, size, value)
      return value
    },
    write(offset, size, value) {
      sync()
      onAccess(name, true, offset, size, value)
      handlers.write(offset, size, value)
    },
  }
}
