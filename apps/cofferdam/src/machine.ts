import { createMachine as create } from '@cofferdam/machine'
import type { CreateMachine } from './machine-port.ts'

/** The machine that `cofferdam boot` runs. */
export const createMachine: CreateMachine = ({ restore, ...options }) =>
  restore === undefined ? create(options) : create({ ...options, restore })
