/** SNP guests of a few instructions: made, run to their end, and what came of it. */
import { snpDirectBoot } from '@cofferdam/boot'
import type { Assembler } from '@cofferdam/boot'
import type { Finding } from '@cofferdam/findings'
import { EfiGuid, guidBytes } from '@cofferdam/spec'
import { expect } from 'vitest'
import { SMBIOS } from '../src/board.ts'
import { createMachine } from '../src/index.ts'
import type { Machine, MachineOptions } from '../src/index.ts'
import { bzImage } from './kernels.ts'
import { reasonOf, report } from './snp-code.ts'

/** A kernel of a test. */
export type Code = (asm: Assembler) => void

const MEMORY = 64 * 2 ** 20
/** Where the direct boot enters `bzImage`: 64-bit entry of a kernel at its preferred address. */
const ENTRY = 0x100_0200n

/** A machine with 64 MiB and one processor, unless `options` say otherwise. */
export const snpMachine = (code: Code, options: Partial<MachineOptions> = {}): Machine => createMachine({
  kernel: bzImage(code), append: '', memory: MEMORY, vcpus: 1, seed: 1, engine: 'auto', cpu: 'amd', cc: 'snp',
  onSerial: () => undefined, ...options,
})

/** Runs a machine to its end; what it ended with, in words. */
export function messageOf(machine: Machine, instructions = 5e6): string {
  const result = machine.run({ instructions })
  return 'message' in result ? result.message : result.reason
}

/** What a kernel leaves in the low byte of RBX. */
export function reported(code: Code, options?: Partial<MachineOptions>): number {
  const message = messageOf(snpMachine((asm) => {
    code(asm)
    report(asm)
  }, options))
  expect(reasonOf(message), message).not.toBeNaN()
  return reasonOf(message)
}

/** Runs a guest to its end; what it broke. */
export function findingsOf(code: Code, options?: Partial<MachineOptions>, instructions = 5e6): readonly Finding[] {
  const machine = snpMachine(code, options)
  machine.run({ instructions })
  return machine.findings.list()
}

/** The rules that it broke. */
export const rulesOf = (code: Code, options?: Partial<MachineOptions>): string[] =>
  findingsOf(code, options).map(({ rule }) => rule)

/** Where an instruction is: the program is assembled with a label there. */
export function ripOf(code: Code, label: string): bigint {
  let at = 0
  bzImage((asm) => {
    code(asm)
    at = asm.offsetOf(label)
  })
  return ENTRY + BigInt(at)
}

/** What a kernel that takes unaccepted memory holds somewhere. */
export const takesUnaccepted = (asm: Assembler): void => { asm.bytes(...guidBytes(EfiGuid.LINUX_UNACCEPTED_MEMORY)) }

/** Where such a kernel gets the table of unaccepted memory. */
export const unacceptedTable = (): number => snpDirectBoot({
  kernel: bzImage(takesUnaccepted).bytes, cmdline: '', memory: MEMORY, cBit: 51, acpi: { apicIds: [0] },
  smbios: { ...SMBIOS, memory: MEMORY }, accept: 'lazy', callingArea: false,
}).unacceptedTable?.start ?? 0

/** Where a guest under an SVSM finds its calling area. */
export const callingArea = (): number => snpDirectBoot({
  kernel: bzImage(() => undefined).bytes, cmdline: '', memory: MEMORY, cBit: 51, acpi: { apicIds: [0] }, accept: 'lazy',
  callingArea: true,
}).callingArea ?? 0
