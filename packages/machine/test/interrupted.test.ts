import { describe, expect, it } from 'vitest'
import { createMachine } from '../src/index.ts'
import type { Machine, RunResult } from '../src/index.ts'
import { flatKernel } from './kernels.ts'

/** Timer interrupts from the PIT every `counts`, which send BL; in between `loop`, at 100100h. */
const ticking = (counts: string): string => `
  b011 e620 b020 e621 b004 e621 b001 e621 b0fe e621 ; PIC: IRQ 0 at vector 20h
  b034 e643 b0${counts.slice(0, 2)} e640 b0${counts.slice(2)} e640 ; PIT channel 0, mode 2
  66c705 00510000 8001 66c705 02510000 0800         ; gate 20h: low half of the address, selector
  66c705 04510000 008e 66c705 06510000 1000         ; 32-bit interrupt gate, high half
  66c705 00600000 ff01 c705 02600000 00500000       ; IDTR image
  0f011d 00600000 bc 00f00000 fb                    ; lidt, esp, sti
  68 00011000 c3                                    ; to the loop`
/** At 100180h: sends EBX, ends the interrupt. */
const handler = 'b8 20000000 e620 89d8 66baf803 ee cf'

const loops = {
  /** inc ebx; jmp */
  plain: { code: '43 ebfd', counts: '0004', slice: 3_000_000 },
  /** inc ebx; mov byte [100108h], EBh; 100108h: jmp */
  'of code that changes itself': { code: '43 c605 08011000 eb ebf6', counts: '0800', slice: 8_000 },
  /** pushfd; or word [esp], 100h; popfd; inc ebx; jmp */
  'of single steps': { code: '9c 66810c24 0001 9d 43 ebf5', counts: '0800', slice: 8_000 },
}
/** At 1001c0h: gate 1 of the single steps. */
const trap = 'cf'

function kernel({ code, counts }: { readonly code: string, readonly counts: string }) {
  const gate = '66c705 08500000 c001 66c705 0a500000 0800 66c705 0c500000 008e 66c705 0e500000 1000'
  const bytes = new Uint8Array(0x200)
  bytes.set(flatKernel(`${gate} ${ticking(counts)}`).bytes)
  for (const [at, text] of [[0x100, code], [0x180, handler], [0x1c0, trap]] as const) {
    bytes.set(flatKernel(text).bytes.subarray(0x20), at)
  }
  return { name: 'ticking', bytes }
}

function create(loop: { readonly code: string, readonly counts: string }): { machine: Machine, sent: number[] } {
  const sent: number[] = []
  const machine = createMachine({
    kernel: kernel(loop), append: '', memory: 16 * 2 ** 20, vcpus: 2, seed: 5, engine: 'auto', cpu: 'intel',
    traceHash: true, onSerial: ([byte]) => { sent.push(byte) },
  })
  return { machine, sent }
}

describe.each(Object.entries(loops))('an interrupted run of a loop %s', (_name, loop) => {
  const slices = 6

  it('says how much is left, and goes on with that as if nothing had been', () => {
    const whole = create(loop)
    for (let i = 0; i < slices; i++) {
      expect(whole.machine.run({ instructions: loop.slice })).toEqual({ reason: 'budget' })
    }
    expect(new Set(whole.sent).size).toBeGreaterThan(4)

    const parts = create(loop)
    let interruptions = 0
    const piece = (left: number, most: number): RunResult => {
      let asked = 0
      const result = parts.machine.run({ instructions: left, interrupted: () => ++asked > most })
      if (result.reason !== 'interrupted') return result
      interruptions += 1
      expect(result.left).toBeLessThan(left)
      return piece(result.left, most)
    }
    for (let i = 0; i < slices; i++) expect(piece(loop.slice, i)).toEqual({ reason: 'budget' })
    expect(interruptions).toBeGreaterThan(slices)
    expect(parts.sent).toEqual(whole.sent)
    expect(parts.machine.stats().traceHash).toBe(whole.machine.stats().traceHash)
    expect(parts.machine.describe(0)).toEqual(whole.machine.describe(0))
  })

  it('is none when it is at its end', () => {
    const { machine } = create(loop)
    expect(machine.run({ instructions: 1, interrupted: () => true })).toEqual({ reason: 'budget' })
  })
})
