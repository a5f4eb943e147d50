/**
 * The CPUID page that a host proposes for a launch (56860 §7.1 and §8.18.2.6): the firmware checks it, the guest uses
 * it.
 */
import { CPUID_PAGE_MAX, CpuidFunction, CpuidPageHeader } from '@cofferdam/spec'
import { HostError } from '../errors.ts'
import type { GuestCpu } from './guest-cpu.ts'

/** Leaves with subleaves, and how many a guest may ask for. */
const SUBLEAVES: Readonly<Record<number, number>> = { 0x4: 5, 0x7: 2, 0xb: 2, 0xd: 32, 0x8000_001d: 5 }
/** XCR0 of the entries whose sizes depend on it: guests look for the legacy area's (Linux, sev-shared.c). */
const XCR0_LEGACY = 1n

/** All functions of a model that are not zero throughout. Functions that are left out count as zeroes. */
export function cpuidPage(cpu: GuestCpu): Uint8Array {
  const page = new Uint8Array(4096)
  const view = new DataView(page.buffer)
  let count = 0
  const leaves = [...cpu.system.leaves.keys()].sort((a, b) => a - b)
  for (const leaf of leaves) {
    for (let subleaf = 0; subleaf < (SUBLEAVES[leaf] ?? 1); subleaf++) {
      const [eax, ebx, ecx, edx] = cpu.cpuid(leaf, subleaf, XCR0_LEGACY)
      if ((eax | ebx | ecx | edx) === 0) continue
      if (count === CPUID_PAGE_MAX) throw new HostError('CPUID page', 'functions', `more than ${CPUID_PAGE_MAX}`)
      const sized = leaf === 0xd && subleaf < 2
      CpuidFunction.write(view, {
        eaxIn: leaf, ecxIn: subleaf, xcr0In: sized ? XCR0_LEGACY : 0n, eax, ebx, ecx, edx,
      }, CpuidPageHeader.size + count * CpuidFunction.size)
      count++
    }
  }
  CpuidPageHeader.write(view, { count })
  return page
}

/** Leaves that a CPUID page has functions of. */
export function cpuidLeaves(page: Uint8Array): ReadonlySet<number> {
  const view = new DataView(page.buffer, page.byteOffset, page.byteLength)
  const leaves = new Set<number>()
  for (let i = 0; i < Math.min(CpuidPageHeader.get(view, 'count'), CPUID_PAGE_MAX); i++) {
    leaves.add(CpuidFunction.get(view, 'eaxIn', CpuidPageHeader.size + i * CpuidFunction.size) >>> 0)
  }
  return leaves
}
