/**
 * Code outside of RAM: bytes come from devices, and all ones from where nobody answers, as on a PC's bus. What a device
 * answers may change from one read to the next, so that such code is fetched anew for each instruction and never kept.
 */
import type { PhysicalMemory } from '@cofferdam/memory'
import { halvesOf } from './code-cache.ts'
import type { CodePage } from './code-cache.ts'
import { PAGE } from './core.ts'

/** Longest instruction. */
const MAX_INSN = 15

export interface OpenBus {
  /** Where the bytes of a page made here lie in the WebAssembly memory: `number` is that of its physical page. */
  frameOf(number: number): number
  /** A page with the bytes that an instruction at `offset` may have; good until the next one of its kind is made. */
  fetch(
    page: Pick<CodePage, 'linear' | 'mode' | 'base' | 'limit'>, physical: number, offset: number, words: number,
  ): CodePage
}

/** Bytes that it takes of the WebAssembly memory. */
export const OPEN_BUS_OVERHEAD = 2 * PAGE

export function createOpenBus(memory: PhysicalMemory): OpenBus {
  const frames = memory.reserve(OPEN_BUS_OVERHEAD)
  const { u8 } = memory.views
  // An instruction's first page, and the one that it ends in: below all numbers of pages.
  const [FIRST, SECOND] = [-2, -1]
  const frameOf = (number: number): number => frames + (number - FIRST) * PAGE

  return {
    frameOf,
    fetch(page, physical, offset, words) {
      const number = offset === 0 ? SECOND : FIRST
      const to = frameOf(number)
      for (let at = offset; at < Math.min(offset + MAX_INSN, PAGE); at++) {
        u8[to + at] = memory.mmio.read(physical * PAGE + at, 1)
      }
      return {
        ...page, ...halvesOf(page.linear), physical: { number, views: [], lines: [], count: 0 }, words,
        entries: new Map(),
      }
    },
  }
}
