/** How processors form packages, cores and threads, and the APIC IDs that follow. */

/** Counts per level; the product is the number of processors (at least). */
export interface Topology {
  readonly packages: number
  readonly coresPerPackage: number
  readonly threadsPerCore: number
}

/** One package of `count` cores with one thread each. */
export const flatTopology = (count: number): Topology => ({ packages: 1, coresPerPackage: count, threadsPerCore: 1 })

/** Bits that number `count` things. */
export const bitsFor = (count: number): number => Math.ceil(Math.log2(Math.max(count, 1)))

/** Shifts of an APIC ID: to the core number and to the package number (SDM vol. 3 §9.9.1). */
export function apicIdShifts(topology: Topology): { core: number; package: number } {
  const core = bitsFor(topology.threadsPerCore)
  return { core, package: core + bitsFor(topology.coresPerPackage) }
}

/** APIC ID of processor `index`: threads of a core, then cores of a package, each level padded to a power of two. */
export function apicIdOf(topology: Topology, index: number): number {
  const { threadsPerCore, coresPerPackage } = topology
  const shifts = apicIdShifts(topology)
  const thread = index % threadsPerCore
  const core = Math.floor(index / threadsPerCore) % coresPerPackage
  const packageNumber = Math.floor(index / (threadsPerCore * coresPerPackage))
  return (packageNumber << shifts.package) | (core << shifts.core) | thread
}
