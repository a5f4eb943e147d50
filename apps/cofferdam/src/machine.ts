import { createMachine as create } from '@cofferdam/machine'
import type { CreateMachine } from './machine-port.ts'
import { isPrime } from './primes.ts'

/** The machine that `cofferdam boot` runs. */
export const createMachine: CreateMachine = ({ restore, ...options }) =>
  create({ ...options, isPrime, ...(restore && { restore }) })
