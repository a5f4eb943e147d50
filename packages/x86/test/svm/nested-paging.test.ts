/** Nested paging and what is cached of it (APM vol. 2, §15.16, §15.25). */
import { Intercept3, SvmExit } from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import { createBox, GUEST, HOST } from './box.ts'

const HLT = Intercept3.mask.HLT
const FINAL = 1n << 32n
const TABLE = 1n << 33n
const P = 1n
const W = 2n
const U = 4n
const ID = 16n

describe('a nested page fault', () => {
  it('says that a page is missing, and its guest physical address', () => {
    const box = createBox()
    box.nested.map({ from: GUEST.data, to: HOST.guest + GUEST.data, length: 4096, largest: 12 })
    box.program('8b 04 25 34 92 00 00 f4 ; mov eax,[9234]')
    expect(box.exit()).toMatchObject({ code: SvmExit.NPF, info1: FINAL | P | U, info2: 0x9234n })
    expect(box.control('bytesFetched')).toBe(15n)
  })

  it('distinguishes writes and fetches', () => {
    const box = createBox()
    const data = { from: GUEST.data, to: HOST.guest + GUEST.data, length: 4096 }
    box.nested.map({ ...data, user: true, writable: false, largest: 12 })
    box.program('8b 04 25 00 90 00 00 89 04 25 08 90 00 00 ; a read, a write')
    expect(box.exit()).toMatchObject({ info1: FINAL | P | W | U, info2: 0x9008n, retired: 2 })
    const other = createBox()
    const code = { from: 0xd000, to: HOST.guest + 0xd000, length: 4096 }
    other.nested.map({ ...code, user: true, executable: false, largest: 12 })
    other.program('f4', 0xd000)
    other.program('b8 00 d0 00 00 ff e0 ; jmp d000')
    expect(other.exit()).toMatchObject({ info1: FINAL | P | U | ID, info2: 0xd000n })
    expect(other.control('bytesFetched')).toBe(0n)
  })

  it('in a walk of the guest’s own tables is a user write there', () => {
    const box = createBox()
    const table = GUEST.tables + 3 * 4096
    box.nested.map({ from: table, to: HOST.guest + table, length: 4096, user: true, writable: false, largest: 12 })
    expect(box.exit()).toMatchObject({ info1: TABLE | P | W | U, info2: BigInt(table + (GUEST.code >>> 12) * 8) })
  })

  it('comes after the guest’s own page fault', () => {
    const box = createBox()
    box.intercept('interceptException', 1 << 14)
    box.program('8b 04 25 00 00 80 00')
    expect(box.exit()).toMatchObject({ code: SvmExit.EXCP0 + 14, info2: 0x80_0000n })
  })

  it('strikes a guest without paging as well', () => {
    const box = createBox()
    box.setState('cr0', 0x11)
    box.setState('efer', 0x1000)
    box.setState('cr4', 0)
    box.bare.poke64(HOST.vmcb + 0x410, 8n | (0xc9bn << 16n) | (0xffff_ffffn << 32n))
    box.intercept('intercept3', HLT)
    box.program('b8 07 00 00 00 a3 00 90 00 00 a1 00 00 20 00 ; mov [9000],eax; mov eax,[200000]')
    expect(box.exit()).toMatchObject({ code: SvmExit.NPF, info2: 0x20_0000n })
    expect(box.peek(GUEST.data, 4)).toBe(7n)
  })
})

describe('translations of a guest', () => {
  const PROGRAM = '8b 04 25 00 90 00 00 f4 ; mov eax,[9000]; hlt'
  const moved = HOST.guest + 0xf000

  const remap = (box: ReturnType<typeof createBox>): void => {
    box.poke(GUEST.data, 1, 4)
    box.poke(0xf000, 2, 4)
    box.intercept('intercept3', HLT)
    box.program(PROGRAM)
    box.exit()
    box.nested.map({ from: GUEST.data, to: moved, length: 4096, user: true, largest: 12 })
    box.setState('rip', GUEST.code)
  }

  it('are forgotten when TLB_CONTROL says so', () => {
    for (const control of [1, 3, 7]) {
      const box = createBox()
      remap(box)
      box.setControl('tlbControl', control)
      box.exit()
      expect(box.state('rax')).toBe(2n)
    }
  })

  it('are another ASID’s under another ASID', () => {
    const box = createBox()
    remap(box)
    box.setControl('guestAsid', 2)
    box.exit()
    expect(box.state('rax')).toBe(2n)
  })

  it('stay over an exit otherwise', () => {
    const box = createBox()
    remap(box)
    const { misses } = box.bare.processor.mmu
    box.exit()
    expect(box.bare.processor.mmu.misses).toBe(misses)
  })

  it('are forgotten by INVLPGA of the host and by flushGuests', () => {
    const box = createBox()
    remap(box)
    box.svm.flushGuests()
    box.exit()
    expect(box.state('rax')).toBe(2n)
  })

  it('are followed through PAE tables in memory, entry by entry', () => {
    const box = createBox()
    const at = 0x2_0000
    // A PDPT whose first entry is a directory of 2 MiB pages.
    box.poke(at, BigInt(at + 0x1000) | 1n)
    box.poke(at + 0x1000, 0xe3n)
    box.setState('cr0', 0x8000_0011)
    box.setState('cr3', at)
    box.setState('cr4', 0x20)
    box.setState('efer', 0x1000)
    box.bare.poke64(HOST.vmcb + 0x410, 8n | (0xc9bn << 16n) | (0xffff_ffffn << 32n))
    box.intercept('intercept3', HLT)
    box.program('b8 07 00 00 00 a3 00 90 00 00 f4')
    expect(box.exit().code).toBe(SvmExit.HLT)
    expect(box.peek(GUEST.data, 4)).toBe(7n)
  })

  it('of a guest without nested paging are its CR3’s alone', () => {
    const box = createBox()
    box.setControl('nestedControl', 0)
    // Tables of the host: the guest's linear addresses are the system's physical ones.
    box.setState('cr3', 0x4_0000)
    box.intercept('intercept3', HLT)
    box.bare.program('b8 07 00 00 00 f4', 0x1_8000)
    box.setState('rip', 0x1_8000)
    expect(box.exit().code).toBe(SvmExit.HLT)
    expect(box.state('rax')).toBe(7n)
  })
})
