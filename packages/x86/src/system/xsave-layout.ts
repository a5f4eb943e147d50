/**
 * The XSAVE area of a model: where each component lies in the standard and in the compacted form (SDM vol. 1 §13.4).
 */
import type { CpuModel } from './cpuid/model.ts'

/** One extended component (the legacy region of x87 and SSE is not one). */
export interface XsaveComponent {
  readonly index: number
  /** Offset in the standard form. */
  readonly offset: number
  readonly size: number
  /** Whether the compacted form aligns it to 64 bytes. */
  readonly aligned: boolean
}

/** Legacy region and header: where extended components begin. */
export const LEGACY_SIZE = 512
export const HEADER_SIZE = 64
export const EXTENDED_START = LEGACY_SIZE + HEADER_SIZE

/** Layout of a model's area. */
export interface XsaveArea {
  readonly components: readonly XsaveComponent[]
  /** Bytes of the standard form with the components of `mask`. */
  standardSize(mask: number): number
  compactedSize(mask: number): number
  /** Offset of a component in the compacted form whose XCOMP_BV has `mask`. */
  compactedOffset(mask: number, index: number): number
  /** Bytes of the compacted form whose XCOMP_BV has `form`, as far as the components of `mask` reach. */
  restoredSize(form: number, mask: number): number
}

const areas = new Map<number, XsaveArea>()

/** Layout for a model; one object per PKRU offset. */
export function xsaveArea(model: Pick<CpuModel, 'pkruOffset'>): XsaveArea {
  let area = areas.get(model.pkruOffset)
  if (area === undefined) {
    area = createArea(model.pkruOffset)
    areas.set(model.pkruOffset, area)
  }
  return area
}

function createArea(pkruOffset: number): XsaveArea {
  const components: readonly XsaveComponent[] = [
    { index: 2, offset: EXTENDED_START, size: 256, aligned: false },
    { index: 9, offset: pkruOffset, size: 8, aligned: false },
  ]
  const has = (mask: number, c: XsaveComponent): boolean => ((mask >>> c.index) & 1) !== 0
  const walk = (mask: number, until: number): number => {
    let at = EXTENDED_START
    for (const c of components) {
      if (c.index === until) return at
      if (has(mask, c)) at += c.size
    }
    return at
  }
  return {
    components,
    standardSize: (mask) => Math.max(EXTENDED_START, ...components.map((c) => (has(mask, c) ? c.offset + c.size : 0))),
    compactedSize: (mask) => walk(mask, -1),
    compactedOffset: walk,
    restoredSize: (form, mask) =>
      Math.max(EXTENDED_START, ...components.map((c) => (has(form & mask, c) ? walk(form, c.index) + c.size : 0))),
  }
}
