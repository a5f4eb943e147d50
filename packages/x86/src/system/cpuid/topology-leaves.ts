/** Topology leaves: 0xB, 0x1F, 0x8000001E. */
import { EAX, EBX, ECX, EDX } from './features.ts'
import type { CpuidLeaf } from './leaves.ts'
import type { Topology } from './topology.ts'
import { apicIdOf, apicIdShifts } from './topology.ts'

/** Threads of one package. */
export const threadsPerPackage = (t: Topology): number => t.coresPerPackage * t.threadsPerCore

/** Level types of leaves 0xB and 0x1F (SDM vol. 2 CPUID). */
const SMT_LEVEL = 1
const CORE_LEVEL = 2

/** Extended topology: thread and core level; EDX is the x2APIC ID at every subleaf. */
export const extendedTopologyLeaf: CpuidLeaf = ({ topology, index }, subleaf, out) => {
  const shifts = apicIdShifts(topology)
  out[ECX] = subleaf & 0xff
  out[EDX] = apicIdOf(topology, index)
  if (subleaf === 0) {
    out[EAX] = shifts.core
    out[EBX] = topology.threadsPerCore
    out[ECX] |= SMT_LEVEL << 8
  } else if (subleaf === 1) {
    out[EAX] = shifts.package
    out[EBX] = threadsPerPackage(topology)
    out[ECX] |= CORE_LEVEL << 8
  }
}

/** Extended APIC ID, core ID and node ID (APM vol. 3 Fn8000_001E): one node per package. */
export const amdCoreLeaf: CpuidLeaf = ({ topology, index }, _subleaf, out) => {
  const id = apicIdOf(topology, index)
  const shifts = apicIdShifts(topology)
  const coreInPackage = (id >>> shifts.core) & ((1 << (shifts.package - shifts.core)) - 1)
  out[EAX] = id
  out[EBX] = ((topology.threadsPerCore - 1) << 8) | (coreInPackage & 0xff)
  out[ECX] = id >>> shifts.package
}
