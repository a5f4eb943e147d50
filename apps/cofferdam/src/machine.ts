import { usageError } from './errors.ts'
import type { CreateMachine } from './machine-port.ts'

/** The machine that `cofferdam boot` runs. */
export const createMachine: CreateMachine = () => {
  throw usageError('boot: this build has no machine yet')
}
