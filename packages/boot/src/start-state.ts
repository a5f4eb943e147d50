/** The state in which a processor enters a kernel, as data. */
import { SegmentAttributes, SegmentDescriptor, SegmentType, SystemType } from '@cofferdam/spec'

/** A segment register with its hidden part; `attributes` in the form of the VMCB. */
export interface SegmentState {
  readonly selector: number
  readonly attributes: number
  readonly limit: number
  readonly base: bigint
}

/** General registers by name; those that are left out are 0. */
export type GeneralRegisters = Partial<Record<
  | 'rax' | 'rcx' | 'rdx' | 'rbx' | 'rsp' | 'rbp' | 'rsi' | 'rdi'
  | 'r8' | 'r9' | 'r10' | 'r11' | 'r12' | 'r13' | 'r14' | 'r15',
  bigint
>>

/** Everything that differs from a processor's reset state. */
export interface StartState {
  readonly registers: GeneralRegisters
  readonly rip: bigint
  readonly rflags: bigint
  readonly cr0: bigint
  readonly cr3: bigint
  readonly cr4: bigint
  readonly efer: bigint
  readonly gdtr: { readonly base: bigint, readonly limit: number }
  readonly idtr: { readonly base: bigint, readonly limit: number }
  readonly segments: Readonly<Record<'es' | 'cs' | 'ss' | 'ds' | 'fs' | 'gs' | 'ldtr' | 'tr', SegmentState>>
}

const FLAT_LIMIT = 0xffff_ffff

/** A flat code segment: 64-bit or 32-bit. */
const codeSegment = (selector: number, long: boolean): SegmentState => ({
  selector,
  attributes: SegmentAttributes.pack({
    type: SegmentType.CODE_XR, S: 1, P: 1, G: 1, L: long ? 1 : 0, DB: long ? 0 : 1,
  }),
  limit: FLAT_LIMIT,
  base: 0n,
})

/** A flat data segment. */
const dataSegment = (selector: number): SegmentState => ({
  selector,
  attributes: SegmentAttributes.pack({ type: SegmentType.DATA_RW, S: 1, P: 1, G: 1, DB: 1 }),
  limit: FLAT_LIMIT,
  base: 0n,
})

/** Flat segments with the selectors that the boot protocols name, and the task register as after reset. */
export function flatSegments(code: number, data: number, long: boolean): StartState['segments'] {
  const d = dataSegment(data)
  return {
    cs: codeSegment(code, long), ds: d, es: d, ss: d, fs: d, gs: d,
    ldtr: { selector: 0, attributes: SegmentAttributes.pack({ type: SystemType.LDT, P: 1 }), limit: 0xffff, base: 0n },
    tr: {
      selector: 0, attributes: SegmentAttributes.pack({ type: SystemType.TSS_BUSY, P: 1 }), limit: 0xffff, base: 0n,
    },
  }
}

function descriptor(s: SegmentState): bigint {
  const a = SegmentAttributes.unpack(s.attributes)
  const big = (n: number) => BigInt(n)
  return SegmentDescriptor.pack({
    limitLow: 0xffffn, limitHigh: 0xfn, type: big(a.type), S: big(a.S), DPL: big(a.DPL), P: big(a.P), L: big(a.L),
    DB: big(a.DB), G: big(a.G),
  })
}

/** A GDT in which the flat code and data descriptors stand at their selectors. */
export function flatGdt(segments: StartState['segments']): Uint8Array {
  const bytes = new Uint8Array(Math.max(segments.cs.selector, segments.ds.selector) + 8)
  const view = new DataView(bytes.buffer)
  view.setBigUint64(segments.cs.selector, descriptor(segments.cs), true)
  view.setBigUint64(segments.ds.selector, descriptor(segments.ds), true)
  return bytes
}
