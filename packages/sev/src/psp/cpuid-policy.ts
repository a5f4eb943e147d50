/**
 * What a guest's CPUID page may say (AMD 56860 §8.18.2.6; PPR "CPUID policy enforcement"): features that the platform
 * has, sizes that are right. What goes beyond is corrected.
 */
import { CPUID_PAGE_MAX, Cpuid1Ecx, CpuidFunction, CpuidPageHeader } from '@cofferdam/spec'
import { viewOf } from '../bytes.ts'
import type { PspPlatform } from './types.ts'

/** How a register is judged: anything goes; no bit that the platform lacks; exactly the platform's value. */
type Rule = 'any' | 'subset' | 'equal'
type Rules = readonly [eax: Rule, ebx: Rule, ecx: Rule, edx: Rule]

const ANY: Rules = ['any', 'any', 'any', 'any']
const SUBSET: Rules = ['subset', 'subset', 'subset', 'subset']

/** Rules by leaf, or by leaf and subleaf where they differ. */
const RULES: Readonly<Record<string, Rules>> = {
  // EBX: APIC id, number of processors; ECX and EDX: features.
  '1': ['any', 'any', 'subset', 'subset'],
  '7.0': ['any', 'subset', 'subset', 'subset'],
  '7.1': SUBSET,
  // XCR0 bits in EDX:EAX; sizes for XCR0 and for all that there is.
  'd.0': ['subset', 'equal', 'any', 'subset'],
  'd.1': ['subset', 'equal', 'subset', 'subset'],
  // Size, offset and kind of a component.
  'd': ['equal', 'equal', 'equal', 'any'],
  '80000001': ['any', 'any', 'subset', 'subset'],
  '80000007': ['any', 'any', 'any', 'subset'],
  '80000008': ['any', 'subset', 'any', 'any'],
  '8000000a': ['any', 'any', 'any', 'subset'],
  '8000001f': ['subset', 'any', 'any', 'any'],
  '80000021': ['subset', 'any', 'any', 'any'],
}

/** Bits that a hypervisor may show although the processor does not: that it is there, and what it emulates. */
const ALLOWED: Readonly<Record<string, readonly [number, number, number, number]>> = {
  '1': [0, 0, (Cpuid1Ecx.mask.HYPERVISOR | Cpuid1Ecx.mask.OSXSAVE | Cpuid1Ecx.mask.X2APIC |
    Cpuid1Ecx.mask.TSC_DEADLINE) >>> 0, 0],
  // OSPKE follows CR4.
  '7.0': [0, 0, 1 << 4, 0],
}

const key = (leaf: number, subleaf?: number): string =>
  (subleaf === undefined ? leaf.toString(16) : `${leaf.toString(16)}.${subleaf.toString(16)}`)

const rulesOf = (leaf: number, subleaf: number): Rules => RULES[key(leaf, subleaf)] ?? RULES[key(leaf)] ?? ANY

const isKnown = (leaf: number): boolean => leaf <= 0xffff || (leaf >= 0x8000_0000 && leaf <= 0x8000_ffff)

/** A page that was checked. */
export interface CheckedCpuid {
  readonly ok: boolean
  /** The page as it is to be, equal to the one given when it was right. */
  readonly page: Uint8Array
}

/** Checks a CPUID page against the platform. */
export function checkCpuidPage(page: Uint8Array, platform: Pick<PspPlatform, 'cpuid'>): CheckedCpuid {
  const out = page.slice()
  const view = viewOf(out)
  const header = CpuidPageHeader.read(view)
  let ok = header.reserved1 === 0 && header.reserved2 === 0n && header.count <= CPUID_PAGE_MAX
  const count = Math.min(header.count, CPUID_PAGE_MAX)
  CpuidPageHeader.write(view, { count, reserved1: 0, reserved2: 0n })
  for (let i = 0; i < count; i++) {
    const base = CpuidPageHeader.size + i * CpuidFunction.size
    if (!correct(view, base, platform)) ok = false
  }
  return { ok, page: out }
}

/** Corrects one function in place; answers whether it was right. */
function correct(view: DataView, base: number, platform: Pick<PspPlatform, 'cpuid'>): boolean {
  const f = CpuidFunction.read(view, base)
  const limit = platform.cpuid(f.eaxIn, f.ecxIn, f.xcr0In, f.xssIn)
  const rules = rulesOf(f.eaxIn, f.ecxIn)
  const allowed = ALLOWED[key(f.eaxIn, f.ecxIn)] ?? ALLOWED[key(f.eaxIn)] ?? [0, 0, 0, 0]
  const known = isKnown(f.eaxIn)
  const given = [f.eax, f.ebx, f.ecx, f.edx]
  const right = given.map((value, i) => {
    if (!known) return 0
    if (rules[i] === 'any') return value
    return rules[i] === 'equal' ? limit[i] >>> 0 : (value & (limit[i] | allowed[i])) >>> 0
  })
  const [eax, ebx, ecx, edx] = right
  CpuidFunction.write(view, { eax, ebx, ecx, edx, reserved: 0n }, base)
  return known && f.reserved === 0n && right.every((value, i) => value === given[i])
}
