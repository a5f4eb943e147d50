/** Answers of CPUID, leaf by leaf (SDM vol. 2 CPUID; APM vol. 3 appendix E). */
import { Cpuid1Ecx, Cpuid1Edx, Cpuid7Ecx } from '@cofferdam/spec'
import type { Cpu } from '../../cpu.ts'
import { CR4, XCR0 } from '../../state.ts'
import { APIC_GP, APIC_MSR } from '../apic-port.ts'
import { APIC_BASE_BITS, CR4_BITS } from '../bits.ts'
import type { CpuSystem } from '../cpu-system.ts'
import { xsaveArea } from '../xsave-layout.ts'
import { amdCacheSummary, cacheLeaf } from './caches.ts'
import { AMD_REPEATED_EDX, EAX, EBX, ECX, EDX, FEATURES } from './features.ts'
import type { CpuModel } from './model.ts'
import { amdCoreLeaf, extendedTopologyLeaf, threadsPerPackage } from './topology-leaves.ts'
import { apicIdOf } from './topology.ts'

/** Fills EAX, EBX, ECX, EDX for a subleaf. `out` holds zeros before. */
export type CpuidLeaf = (system: CpuSystem, subleaf: number, out: Uint32Array, cpu: Cpu) => void

/** Where hypervisor leaves begin. */
export const HYPERVISOR_LEAF = 0x4000_0000

/** Feature bits of a model by leaf and subleaf; models are never changed, so each is worked out once. */
const featureWords = new WeakMap<ReadonlySet<string>, Map<string, Uint32Array>>()

function wordsOf(features: ReadonlySet<string>): Map<string, Uint32Array> {
  let all = featureWords.get(features)
  if (all !== undefined) return all
  all = new Map()
  for (const name of features) {
    const place = FEATURES.get(name)
    if (place === undefined) continue
    const [leaf, subleaf, register, bit] = place
    const key = `${String(leaf)}.${String(subleaf)}`
    const words = all.get(key) ?? new Uint32Array(4)
    words[register] |= 1 << bit
    all.set(key, words)
  }
  featureWords.set(features, all)
  return all
}

/** Sets the feature bits of one leaf and subleaf, all registers. */
export function featureBits(model: CpuModel, leaf: number, subleaf: number, out: Uint32Array): void {
  const words = wordsOf(model.features).get(`${String(leaf)}.${String(subleaf)}`)
  if (words !== undefined) for (let i = 0; i < 4; i++) out[i] |= words[i]
}

/** Four characters of a text as a register. */
export const textWord = (text: string, at: number): number => {
  let word = 0
  for (let i = 0; i < 4; i++) word |= (at + i < text.length ? text.charCodeAt(at + i) : 0) << (8 * i)
  return word >>> 0
}

/** Processor signature: stepping, model, family, extended model, extended family (SDM vol. 2 figure 3-6). */
export function signature(model: CpuModel): number {
  const baseFamily = Math.min(model.family, 15)
  const extendedFamily = model.family - baseFamily
  return ((extendedFamily << 20) | ((model.model >> 4) << 16) | (baseFamily << 8) | ((model.model & 15) << 4) |
    model.stepping) >>> 0
}

const vendorLeaf = (max: (model: CpuModel) => number): CpuidLeaf => ({ model }, _subleaf, out) => {
  out[EAX] = max(model)
  out[EBX] = textWord(model.vendor, 0)
  out[EDX] = textWord(model.vendor, 4)
  out[ECX] = textWord(model.vendor, 8)
}

const leaf1: CpuidLeaf = (system, _subleaf, out, cpu) => {
  const { model, topology, index } = system
  const threads = threadsPerPackage(topology)
  featureBits(model, 1, 0, out)
  out[EAX] = signature(model)
  out[EBX] = ((apicIdOf(topology, index) & 0xff) << 24) | ((threads & 0xff) << 16) | (8 << 8)
  if ((cpu.views.u32[CR4 >>> 2] & CR4_BITS.OSXSAVE) !== 0) out[ECX] |= Cpuid1Ecx.mask.OSXSAVE
  const base = system.apic.readMsr(APIC_MSR.BASE)
  if (base !== APIC_GP && (base & APIC_BASE_BITS.EN) !== 0n) out[EDX] |= Cpuid1Edx.mask.APIC
  if (threads > 1) out[EDX] |= Cpuid1Edx.mask.HTT
}

const leaf7: CpuidLeaf = ({ model }, subleaf, out, cpu) => {
  featureBits(model, 7, subleaf, out)
  if (subleaf !== 0) return
  out[EAX] = model.vendor === 'GenuineIntel' ? 2 : 0
  if (model.features.has('pku') && (cpu.views.u32[CR4 >>> 2] & CR4_BITS.PKE) !== 0) out[ECX] |= Cpuid7Ecx.mask.OSPKE
}

/** Extended state: sizes for what XCR0 enables now, and one subleaf per component (SDM vol. 1 §13.2). */
const leafD: CpuidLeaf = ({ model, legal }, subleaf, out, cpu) => {
  const xcr0 = cpu.views.u32[XCR0 >>> 2]
  const area = xsaveArea(model)
  if (subleaf === 0) {
    out[EAX] = legal.xcr0
    out[EBX] = area.standardSize(xcr0)
    out[ECX] = area.standardSize(legal.xcr0)
  } else if (subleaf === 1) {
    featureBits(model, 0xd, 1, out)
    out[EBX] = area.compactedSize(xcr0)
    out[ECX] = legal.xss
  } else if (subleaf < 32 && ((legal.xcr0 >>> subleaf) & 1) !== 0) {
    const component = area.components.find((c) => c.index === subleaf)
    if (component === undefined) return
    out[EAX] = component.size
    out[EBX] = component.offset
    out[ECX] = component.aligned ? 2 : 0
  }
}

/** Time-stamp counter and nominal core crystal clock (SDM vol. 3 §20.7.3). */
const leaf15: CpuidLeaf = ({ model }, _subleaf, out) => {
  out[EAX] = 1
  out[EBX] = Math.round(model.tscHz / model.crystalHz)
  out[ECX] = model.crystalHz
}

const leaf16: CpuidLeaf = ({ model }, _subleaf, out) => {
  out[EAX] = Math.round(model.tscHz / 1e6)
  out[EBX] = Math.round(model.tscHz / 1e6)
  out[ECX] = 100
}

const extendedFeatures: CpuidLeaf = ({ model }, _subleaf, out) => {
  featureBits(model, 0x8000_0001, 0, out)
  if (model.vendor !== 'AuthenticAMD') return
  out[EAX] = signature(model)
  const basic = new Uint32Array(4)
  featureBits(model, 1, 0, basic)
  out[EDX] |= basic[EDX] & AMD_REPEATED_EDX
}

const brandLeaf = (part: number): CpuidLeaf => ({ model }, _subleaf, out) => {
  for (let i = 0; i < 4; i++) out[i] = textWord(model.brand, part * 16 + i * 4)
}

/** Address widths; on AMD also the number of threads. */
const leaf80000008: CpuidLeaf = ({ model, topology }, _subleaf, out) => {
  featureBits(model, 0x8000_0008, 0, out)
  out[EAX] = ((model.features.has('la57') ? 57 : 48) << 8) | model.physicalBits
  if (model.vendor !== 'AuthenticAMD') return
  const threads = threadsPerPackage(topology)
  out[ECX] = (Math.ceil(Math.log2(threads)) << 12) | (threads - 1)
}

/** A leaf that holds feature bits and nothing else. */
const featureLeaf = (leaf: number): CpuidLeaf => ({ model }, subleaf, out) => {
  featureBits(model, leaf, subleaf, out)
}

const hypervisorLeaf: CpuidLeaf = ({ model }, _subleaf, out) => {
  const text = model.hypervisor ?? ''
  out[EAX] = HYPERVISOR_LEAF
  out[EBX] = textWord(text, 0)
  out[ECX] = textWord(text, 4)
  out[EDX] = textWord(text, 8)
}

/** MONITOR line sizes; MWAIT extensions are not offered beyond C1 (SDM vol. 2 CPUID leaf 5). */
const monitorLeaf: CpuidLeaf = ({ model }, _subleaf, out) => {
  if (!model.features.has('monitor')) return
  out[EAX] = 64
  out[EBX] = 64
  out[ECX] = 3
  out[EDX] = 0x10
}

const intelLeaves: readonly (readonly [number, CpuidLeaf])[] = [
  // 0xff and 0xfe: cache and TLB facts are in leaves 4 and 0x18 (SDM vol. 2 table 3-12).
  [2, (_system, _subleaf, out) => { out[EAX] = 0x00fe_ff01 }],
  [4, cacheLeaf],
  [0x1f, extendedTopologyLeaf],
  [0x15, leaf15],
  [0x16, leaf16],
]

const amdLeaves: readonly (readonly [number, CpuidLeaf])[] = [
  [0x8000_0005, amdCacheSummary(1)],
  [0x8000_001d, cacheLeaf],
  [0x8000_001e, amdCoreLeaf],
  [0x8000_0021, featureLeaf(0x8000_0021)],
]

/** All leaves of a model. Extensions may set or replace entries of the map. */
export function createCpuidLeaves(model: CpuModel): Map<number, CpuidLeaf> {
  const leaves = new Map<number, CpuidLeaf>([
    [0, vendorLeaf((m) => m.maxBasicLeaf)],
    [1, leaf1],
    [5, monitorLeaf],
    [6, featureLeaf(6)],
    [7, leaf7],
    [0xb, extendedTopologyLeaf],
    [0xd, leafD],
    [0x8000_0000, vendorLeaf((m) => m.maxExtendedLeaf)],
    [0x8000_0001, extendedFeatures],
    [0x8000_0002, brandLeaf(0)],
    [0x8000_0003, brandLeaf(1)],
    [0x8000_0004, brandLeaf(2)],
    [0x8000_0006, amdCacheSummary(2)],
    [0x8000_0007, featureLeaf(0x8000_0007)],
    [0x8000_0008, leaf80000008],
    ...(model.vendor === 'GenuineIntel' ? intelLeaves : amdLeaves),
  ])
  if (model.hypervisor !== undefined) leaves.set(HYPERVISOR_LEAF, hypervisorLeaf)
  return leaves
}

/**
 * Answers CPUID for a leaf and subleaf. Leaves beyond the maximum answer as the highest basic leaf on Intel, as zeros
 * on AMD (SDM vol. 2 CPUID; APM vol. 3 CPUID); leaves that a model does not have are zeros.
 */
export function cpuid(cpu: Cpu, system: CpuSystem, leaf: number, subleaf: number, out: Uint32Array): void {
  out.fill(0)
  const answer = system.leaves.get(leaf >>> 0)
  if (answer !== undefined) {
    answer(system, subleaf >>> 0, out, cpu)
    return
  }
  const { model } = system
  const isHypervisorRange = leaf >>> 28 === 4 && model.hypervisor !== undefined
  const isBeyond = leaf >>> 31 !== 0 ? leaf >>> 0 > model.maxExtendedLeaf : leaf >>> 0 > model.maxBasicLeaf
  if (isBeyond && !isHypervisorRange && model.vendor === 'GenuineIntel') {
    system.leaves.get(model.maxBasicLeaf)?.(system, subleaf >>> 0, out, cpu)
  }
}
