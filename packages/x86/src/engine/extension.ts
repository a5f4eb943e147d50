/**
 * Extensions: what a package above adds to a processor (SVM, SEV-SNP, TDX). An extension costs what it does: its
 * meanings are looked up when code is decoded, its registers and leaves lie in the tables that exist anyway, and code
 * that uses none of it runs the same micro-ops through the same generated interpreter.
 */
import type { PhysicalMemory } from '@cofferdam/memory'
import type { Meaning } from '../cpu.ts'
import type { Insn } from '../insn.ts'
import { OPS } from '../ops.ts'
import type { CpuSystem } from '../system/cpu-system.ts'
import type { CpuidLeaf } from '../system/cpuid/leaves.ts'
import type { CpuModel } from '../system/cpuid/model.ts'
import type { Msr } from '../system/msr/msr.ts'
import { createMsrTable, addMsrs } from '../system/msr/table.ts'
import type { Processor } from './processor-types.ts'
import { standardMeanings } from './standard-meanings.ts'

/** What a package adds to processors; all parts are optional. */
export interface Extension {
  /** For messages. */
  readonly name: string
  /**
   * Meanings by mnemonic (`OPS`). They come before the processor's own: an instruction that has none is #UD, one that
   * has may be replaced, unless generated code carries it out (the forms with WebAssembly meanings).
   */
  readonly meanings?: Readonly<Record<string, Meaning>>
  /** MSRs to add or to replace; all processors share them. */
  readonly msrs?: (model: CpuModel) => readonly Msr[]
  /** CPUID leaves to add or to replace. */
  readonly leaves?: (model: CpuModel) => readonly (readonly [number, CpuidLeaf])[]
  /** Called for every processor's system side: what CR4, EFER, XCR0 and CR3 may hold. */
  readonly configure?: (system: CpuSystem) => void
  /** Called once for every processor when it exists. */
  readonly attach?: (processor: Processor, memory: PhysicalMemory) => void
}

/** Meanings with the extensions' first; for `createEngine`. */
export function extendedMeanings(
  extensions: readonly Extension[], standard: (insn: Insn) => Meaning | undefined = standardMeanings,
): (insn: Insn) => Meaning | undefined {
  const added = new Map<number, Meaning>()
  for (const { meanings, name } of extensions.toReversed()) {
    for (const [mnemonic, meaning] of Object.entries(meanings ?? {})) {
      const op = OPS.indexOf(mnemonic)
      if (op < 0) throw new RangeError(`extension ${name}: there is no instruction ${mnemonic}`)
      added.set(op, meaning)
    }
  }
  return added.size === 0 ? standard : (insn) => added.get(insn.op) ?? standard(insn)
}

/** The MSRs of a model with the extensions' own; for `createCpuSystem`. */
export function extendedMsrs(model: CpuModel, extensions: readonly Extension[]): Map<number, Msr> {
  const table = createMsrTable(model)
  for (const { msrs } of extensions) addMsrs(table, msrs?.(model) ?? [])
  return table
}

/** Gives a processor's system side the extensions' leaves and bits. */
export function extendSystem(system: CpuSystem, extensions: readonly Extension[]): CpuSystem {
  for (const { leaves, configure } of extensions) {
    for (const [leaf, answer] of leaves?.(system.model) ?? []) system.leaves.set(leaf, answer)
    configure?.(system)
  }
  return system
}

/** Tells the extensions of a processor that was just created. */
export function attachExtensions(processor: Processor, memory: PhysicalMemory, extensions: readonly Extension[]): void {
  for (const { attach } of extensions) attach?.(processor, memory)
}
