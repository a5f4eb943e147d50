/** A processor from outside: its registers by name, and memory as it sees it. */
import { gdbRegisters } from './gdb/registers.ts'
import type { GdbRegister } from './gdb/registers.ts'
import { createLinearMemory } from './gdb/target.ts'
import type { Debuggable } from './gdb/target.ts'
import { MachineError } from './options.ts'

type Digit = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7
type Number16 = Digit | 8 | 9 | 10 | 11 | 12 | 13 | 14 | 15

/** Registers that may be written; what follows from a value (modes, translations) follows from it too. */
export type WritableRegister =
  | 'rax' | 'rbx' | 'rcx' | 'rdx' | 'rsi' | 'rdi' | 'rbp' | 'rsp' | `r${Exclude<Number16, Digit>}` | 'rip' | 'eflags'
  | `st${Digit}` | 'fctrl' | 'fstat' | 'fiseg' | 'fioff' | 'foseg' | 'fooff' | 'fop' | `xmm${Number16}` | 'mxcsr'
  | 'fs_base' | 'gs_base' | 'k_gs_base'

/** Registers by the names that gdb has for them. */
export type RegisterName =
  | WritableRegister | 'cs' | 'ss' | 'ds' | 'es' | 'fs' | 'gs' | 'ftag' | 'cr0' | 'cr2' | 'cr3' | 'cr4' | 'efer'

/** One processor, between two calls of `run`. Looking changes nothing that the guest could see. */
export interface ProcessorView {
  /**
   * A register's value, never negative. @throws MachineError, as all of this, for a guest's processor that has not
   * started
   */
  get(name: RegisterName): bigint
  /**
   * Writes a register; of `eflags` those bits that POPF could write in ring 0.
   * @throws MachineError for a value that has more bits than the register
   */
  set(name: WritableRegister, value: bigint): void
  /**
   * Bytes from a virtual address on, in the mode and with the tables that the processor has: fewer where nothing is
   * mapped.
   */
  read(address: bigint, length: number): Uint8Array
  /** Writes all bytes, whatever the tables say of writing, or none and answers false. */
  write(address: bigint, bytes: Uint8Array): boolean
}

const byName = new Map<string, GdbRegister>(gdbRegisters.map((register) => [register.name, register]))

/** The names that `ProcessorView` knows. */
export const registerNames = [...byName.keys()] as readonly RegisterName[]

const find = (name: string): GdbRegister => {
  const register = byName.get(name)
  if (register === undefined) throw new MachineError('registers', name, 'there is no such register')
  return register
}

/** Most bytes that one look gives. */
const MOST_BYTES = 2 ** 30

/**
 * Looks at a processor of a machine.
 * @throws MachineError for a processor that there is none of
 */
export function inspectProcessor(machine: Debuggable, cpu = 0): ProcessorView {
  const { seats } = machine.processors
  if (!Number.isInteger(cpu) || cpu < 0 || cpu >= seats.length) {
    throw new MachineError('processors', 'number', `${cpu}; expected 0 to ${seats.length - 1}`)
  }
  const { processor } = seats[cpu]
  const memory = createLinearMemory(machine.memory)
  const enter = (): void => {
    if (machine.reside?.(cpu) === false) {
      throw new MachineError('processors', `${cpu}`, 'nothing runs there that could be shown')
    }
    processor.activate()
  }
  return {
    get(name) {
      enter()
      return find(name).read(processor).reduceRight((value, byte) => value << 8n | BigInt(byte), 0n)
    },
    set(name, value) {
      const { bits, write } = find(name)
      if (write === undefined) throw new MachineError('registers', name, 'it cannot be written')
      if (value < 0n || value >> BigInt(bits) !== 0n) {
        throw new MachineError('registers', name, `${value}; expected a number of ${bits} bits`)
      }
      enter()
      write(processor, Uint8Array.from({ length: bits / 8 }, (_, i) => Number(value >> BigInt(i * 8) & 0xffn)))
    },
    read(address, length) {
      if (!(length >= 0 && length <= MOST_BYTES)) {
        throw new MachineError('memory', 'length', `${length}; expected 0 to 2^30`)
      }
      enter()
      return memory.read(processor, address, length)
    },
    write(address, bytes) {
      enter()
      return memory.write(processor, address, bytes)
    },
  }
}
