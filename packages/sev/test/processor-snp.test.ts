/** SEV-SNP on the processor: the RMP's checks and their faults, VMRUN's checks, instructions (APM vol. 2, §15.36). */
import {
  Msr, PSMASH_FAIL_BADADDR, RmpAdjustAttributes, RmpState, RmpStatus, SevFeatures, SvmExit, SysCfg,
} from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import { createRmpTable, createSevSilicon, HOST_KEY } from '../src/index.ts'
import { ASID, C_BIT, createSevBox, GUEST, HOST } from './processor-box.ts'
import type { SevBox } from './processor-box.ts'

const F = SevFeatures.mask
const RMP = 1n << 31n
const FINAL = 1n << 32n
const TABLE = 1n << 33n
const ENC = 1n << 34n
const SIZEM = 1n << 35n
const VMPL = 1n << 36n
const P = 1n
const W = 2n
const U = 4n
const I = 16n
const PAGE_NOT_VALIDATED = 0x404n

const READ = '8b042500900000' // mov eax,[9000]
const WRITE = '890425 00900000' // mov [9000],eax
const HLT = 'f4'

const npf = (box: SevBox): { info: bigint; gpa: bigint } => {
  const { code, info1, info2 } = box.exit()
  expect(code).toBe(SvmExit.NPF)
  return { info: info1, gpa: info2 }
}

describe('a private access of a guest', () => {
  it('reaches a page that is its own, at its address, and validated', () => {
    const box = createSevBox()
    box.poke(GUEST.data, 0x1234n)
    box.program(`${READ} ${HLT}`)
    expect(box.exit().code).toBe(SvmExit.HLT)
    expect(box.state('rax')).toBe(0x1234n)
  })

  const violations: readonly (readonly [string, (box: SevBox) => void])[] = [
    ['is not assigned', (box) => { box.setEntry(GUEST.data, { assigned: false, asid: 0 }) }],
    ['is another guest’s', (box) => { box.setEntry(GUEST.data, { asid: ASID + 1 }) }],
    ['is assigned at another guest address', (box) => { box.setEntry(GUEST.data, { guestPage: 0x77 }) }],
    ['is immutable', (box) => { box.setEntry(GUEST.data, { immutable: true }) }],
  ]
  it.each(violations)('to a page that %s is #VMEXIT(NPF) with RMP and ENC', (_, change) => {
    const box = createSevBox()
    change(box)
    box.program(READ)
    expect(npf(box)).toEqual({ info: RMP | FINAL | ENC | P | U, gpa: BigInt(GUEST.data) })
  })

  it('to a page that the RMP does not cover is #VMEXIT(NPF)', () => {
    const box = createSevBox()
    box.nested.map({ from: GUEST.data, to: 2 ** 24, length: 4096, user: true, largest: 12 })
    box.program(READ)
    expect(npf(box).info).toBe(RMP | FINAL | ENC | P | U)
  })

  it('through a larger nested page than the entry’s is #VMEXIT(NPF)', () => {
    const box = createSevBox()
    box.nested.map({ from: 0, to: HOST.guest, length: 0x20_0000, user: true, largest: 21 })
    expect(npf(box).info & (RMP | TABLE)).toBe(RMP | TABLE)
  })

  it('says whether it was a write or a fetch', () => {
    const box = createSevBox()
    box.setEntry(GUEST.data, { guestPage: 0x77 })
    box.program(WRITE)
    expect(npf(box).info).toBe(RMP | FINAL | ENC | P | W | U)
    const other = createSevBox()
    other.setEntry(GUEST.data, { guestPage: 0x77 })
    other.program('b800900000 ffe0')
    expect(npf(other).info).toBe(RMP | FINAL | ENC | P | U | I)
  })

  it('to a page that is not validated is #VC with 404h, and the address in CR2', () => {
    const box = createSevBox()
    box.setEntry(GUEST.data, { validated: false })
    box.program('8b042534920000')
    expect(box.vc()).toBe(PAGE_NOT_VALIDATED)
    expect(box.state('cr2')).toBe(0x9234n)
  })

  it('meets the other checks before that of validation', () => {
    const box = createSevBox()
    box.setEntry(GUEST.data, { validated: false, guestPage: 0x77 })
    box.program(READ)
    expect(npf(box).info).toBe(RMP | FINAL | ENC | P | U)
  })

  it('needs its VMPL’s permission, last of all checks', () => {
    const box = createSevBox()
    box.setState('vmpl', 1)
    for (let gpa = 0; gpa < GUEST.size; gpa += 4096) {
      if (gpa !== GUEST.shared) box.setEntry(gpa, { permissions: 0x0f0f })
    }
    box.setEntry(GUEST.data, { permissions: 0x010f })
    box.program(`${READ} ${WRITE}`)
    expect(npf(box)).toEqual({ info: RMP | FINAL | ENC | VMPL | P | W | U, gpa: BigInt(GUEST.data) })
    const fetching = createSevBox()
    fetching.setEntry(GUEST.data, { permissions: 0x07 })
    fetching.program('b800900000 ffe0')
    expect(npf(fetching).info).toBe(RMP | FINAL | ENC | VMPL | P | U | I)
  })

  it('for its own tables is checked as well', () => {
    const table = GUEST.tables + 3 * 4096
    const box = createSevBox()
    box.setEntry(table, { asid: ASID + 1 })
    expect(npf(box)).toEqual({ info: RMP | TABLE | ENC | P | W | U, gpa: BigInt(table + 8) })
  })

  it('needs the permission to write a table whose accessed flags it sets', () => {
    const table = GUEST.tables + 3 * 4096
    const under = (permissions: number, flags: bigint): SevBox => {
      const box = createSevBox()
      box.setState('vmpl', 1)
      for (let gpa = 0; gpa < GUEST.size; gpa += 4096) {
        if (gpa !== GUEST.shared) box.setEntry(gpa, { permissions: gpa === table ? permissions : 0x0f0f })
      }
      for (const gpa of [GUEST.code, GUEST.data]) {
        const entry = table + 8 * (gpa / 4096)
        box.poke(entry, (box.peek(entry) & ~0x60n) | flags)
      }
      box.program(`${READ} ${HLT}`)
      return box
    }
    expect(under(0x0f0f, 0n).exit().code).toBe(SvmExit.HLT)
    expect(under(0x010f, 0x20n).exit().code).toBe(SvmExit.HLT)
    expect(npf(under(0x010f, 0n))).toEqual({ info: RMP | TABLE | ENC | VMPL | P | W | U, gpa: BigInt(table + 8) })
  })

  it('is looked at once, when it is translated', () => {
    const box = createSevBox()
    box.program(`${READ} ${READ} ${HLT}`)
    box.exit()
    // A change that tells nobody is not seen: RMPUPDATE and its like tell.
    box.setEntry(GUEST.data, { asid: ASID + 1 })
    box.setState('rip', GUEST.code)
    expect(box.exit().code).toBe(SvmExit.HLT)
    expect(box.silicon.rmpupdate((HOST.guest + GUEST.data) / 4096, {
      assigned: false, guestPage: 0, large: false, asid: 0, immutable: false,
    })).toBe(RmpStatus.SUCCESS)
    box.setState('rip', GUEST.code)
    expect(npf(box).info).toBe(RMP | FINAL | ENC | P | U)
  })
})

describe('a shared access of a guest', () => {
  it('reaches what the host owns, in the clear', () => {
    const box = createSevBox()
    box.program('890c2500e00000 f4')
    box.setState('rcx', 0x1234)
    box.exit()
    expect(box.peek(GUEST.shared, 4, 0)).toBe(0x1234n)
  })

  it('writes to no page that is assigned, and reads ciphertext there', () => {
    const box = createSevBox()
    box.nested.map({ from: GUEST.shared, to: HOST.guest + GUEST.data, length: 4096, user: true, largest: 12 })
    box.poke(GUEST.data, 0x1234n)
    box.program('488b1c2500e00000 890c2500e00000')
    expect(npf(box)).toEqual({ info: RMP | FINAL | P | W | U, gpa: BigInt(GUEST.shared) })
    expect(box.state('rbx')).not.toBe(0x1234n)
  })
})

describe('an access of the host', () => {
  const at = (gpa: number): string => bytes4(HOST.guest + gpa)

  it('that writes to an assigned page is #PF with RMP', () => {
    const box = createSevBox()
    expect(box.host(`890425${at(GUEST.data)}`)).toEqual({
      vector: 14, error: 0xffff_ffff_8000_0003n & 0xffff_ffffn, cr2: BigInt(HOST.guest + GUEST.data),
    })
  })

  it('that reads one sees ciphertext', () => {
    const box = createSevBox()
    box.poke(GUEST.data, 0x1234_5678n)
    expect(box.host(`8b1c25${at(GUEST.data)} f4`)).toBeNull()
    expect(box.register(3)).not.toBe(0x1234_5678n)
    expect(box.register(3)).toBe(box.peek(GUEST.data, 4, 0))
    expect(box.peek(GUEST.data, 4)).toBe(0x1234_5678n)
  })

  it('through the C-bit uses the host’s own key', () => {
    const box = createSevBox()
    // The entry of linear 0x30000 with the C-bit.
    const entry = HOST.tables + 3 * 4096 + 0x30 * 8
    box.pokeHost(entry, box.peekHost(entry, 8) | C_BIT)
    expect(box.host('b82a000000 a30000030000000000 f4')).toBeNull()
    expect(box.peekHost(0x3_0000, 4, HOST_KEY)).toBe(42n)
    expect(box.peekHost(0x3_0000, 4)).not.toBe(42n)
  })

  it('finds no page table in an assigned page', () => {
    const box = createSevBox()
    const page = (HOST.tables + 3 * 4096) / 4096
    const entry = box.rmp.read(page) as NonNullable<ReturnType<typeof box.rmp.read>>
    box.rmp.write(page, { ...entry, assigned: true, asid: 1 })
    // Its first fetch faults, and so does everything that follows.
    box.host('f4')
    expect(box.processor.stopped).toContain('triple fault')
  })
})

const bytes4 = (value: number): string =>
  [0, 8, 16, 24].map((shift) => ((value >>> shift) & 0xff).toString(16).padStart(2, '0')).join('')

describe('PVALIDATE', () => {
  // mov eax,9000; mov ecx,size; mov edx,validate; pvalidate; setc bl; mov rsi,rax; hlt
  const code = (size: number, validate: number, address: number = GUEST.data): string =>
    `bb00000000 b8${bytes4(address)} b9${bytes4(size)} ba${bytes4(validate)} f20f01ff 0f92c3 4889c6 f4`
  const outcome = (box: SevBox): { eax: bigint; carry: bigint } => {
    expect(box.exit().code).toBe(SvmExit.HLT)
    return { eax: box.state('rsi'), carry: box.state('rbx') }
  }

  it('validates a page and clears CF; the same again sets CF', () => {
    const box = createSevBox()
    box.setEntry(GUEST.data, { validated: false })
    box.program(code(0, 1))
    expect(outcome(box)).toEqual({ eax: 0n, carry: 0n })
    expect(box.entry(GUEST.data)?.validated).toBe(true)
    box.setState('rip', GUEST.code)
    expect(outcome(box)).toEqual({ eax: 0n, carry: 1n })
  })

  it('takes validation back, and translations with it', () => {
    const box = createSevBox()
    box.program(`${READ} ${code(0, 0).replace('f4', '')} ${READ}`)
    expect(box.vc()).toBe(PAGE_NOT_VALIDATED)
    expect(box.entry(GUEST.data)?.validated).toBe(false)
  })

  it('sets the status flags by its code', () => {
    const box = createSevBox()
    // A page size that there is not; of EDX bit 0 alone counts.
    box.program('b800900000 b902000000 ba01000000 f20f01ff 9c 5b f4')
    box.exit()
    expect(box.state('rax')).toBe(BigInt(RmpStatus.FAIL_INPUT))
    expect(box.state('rbx') & 0x8d4n).toBe(0n)
    const good = createSevBox()
    good.program('b800900000 b900000000 ba010000ff f20f01ff 9c 5b f4')
    good.exit()
    expect(good.state('rbx') & 0x8d5n).toBe(0x45n)
  })

  it('of 4 KiB inside a 2 MiB entry leaves, for PSMASH', () => {
    const box = createLargeBox()
    box.program(code(0, 1, 0x20_0000))
    expect(npf(box)).toEqual({ info: RMP | FINAL | ENC | SIZEM | P | U, gpa: 0x20_0000n })
    expect(box.silicon.psmash(LARGE / 4096)).toBe(RmpStatus.SUCCESS)
    // The nested mapping in small pages as well: its directory's second entry goes first.
    box.pokeHost(HOST.nested + 2 * 4096 + 8, 0)
    for (let at = 0; at < 0x20_0000; at += 4096) {
      box.nested.map({ from: 0x20_0000 + at, to: LARGE + at, length: 4096, user: true, largest: 12 })
    }
    box.svm.flushGuests()
    expect(outcome(box)).toEqual({ eax: 0n, carry: 0n })
  })

  it('of 2 MiB over 4 KiB entries answers FAIL_SIZEMISMATCH', () => {
    const box = createSevBox()
    box.program(code(1, 1, 0))
    expect(outcome(box)).toEqual({ eax: BigInt(RmpStatus.FAIL_SIZEMISMATCH), carry: 0n })
  })

  it('validates 2 MiB at once', () => {
    const box = createLargeBox()
    box.program(code(1, 1, 0x20_0000))
    expect(outcome(box)).toEqual({ eax: 0n, carry: 0n })
    expect(box.rmp.read(LARGE / 4096)?.validated).toBe(true)
  })

  it('of a page that is not mapped leaves, or faults in the guest', () => {
    const box = createSevBox()
    box.nested.map({ from: GUEST.data, to: HOST.guest + GUEST.data, length: 4096, user: false, largest: 12 })
    box.program(code(0, 1))
    expect(npf(box)).toEqual({ info: FINAL | ENC | P | U, gpa: BigInt(GUEST.data) })
    const unmapped = createSevBox()
    unmapped.program(code(0, 1, 0x70_0000))
    // #PF: the handler's error code.
    expect(unmapped.vc()).toBe(0n)
    expect(unmapped.state('cr2')).toBe(0x70_0000n)
  })

  it('is #UD outside of SNP-active guests', () => {
    const box = createSevBox('es')
    box.program('f20f01ff')
    expect(box.vc()).toBe(1n)
    expect(createSevBox().host('f20f01ff')).toMatchObject({ vector: 6 })
  })

  it('is #GP above VMPL 0', () => {
    const box = createSevBox()
    box.setState('vmpl', 1)
    for (let gpa = 0; gpa < GUEST.size; gpa += 4096) {
      if (gpa !== GUEST.shared) box.setEntry(gpa, { permissions: 0x0f0f })
    }
    box.program('f20f01ff')
    expect(box.vc()).toBe(0n)
    expect(box.state('rip')).toBe(BigInt(GUEST.handler + 13 * 16 + 5))
  })
})

/** Where 2 MiB of guest memory at 2 MiB lie. */
const LARGE = 0xc0_0000

/** A box with a 2 MiB page of the guest's at guest address 2 MiB, assigned and not validated. */
function createLargeBox(): SevBox {
  const box = createSevBox()
  box.nested.map({ from: 0x20_0000, to: LARGE, length: 0x20_0000, user: true, largest: 21 })
  expect(box.silicon.rmpupdate(LARGE / 4096, {
    assigned: true, guestPage: 0x200, large: true, asid: ASID, immutable: false,
  })).toBe(RmpStatus.SUCCESS)
  // The guest's page directory: a 2 MiB page with the C-bit.
  box.poke(GUEST.tables + 2 * 4096 + 8, 0x20_0000n | 0xe3n | C_BIT)
  return box
}

describe('RMPADJUST and RMPQUERY', () => {
  const adjust = (attributes: bigint, address: number = GUEST.data): string =>
    `b8${bytes4(address)} b900000000 ba${bytes4(Number(attributes))} f30f01fe 4889c6`

  it('gives another VMPL permissions, which it then has', () => {
    const box = createSevBox()
    const attributes = RmpAdjustAttributes.pack({ targetVmpl: 2n, permissions: 3n })
    box.program(`${adjust(attributes)} b8${bytes4(GUEST.data)} b902000000 f30f01fd f4`)
    box.exit()
    expect(box.state('rsi')).toBe(0n)
    expect((box.entry(GUEST.data)?.permissions ?? 0) >>> 16).toBe(3)
    expect([box.state('rax'), box.state('rcx'), box.state('rdx') & 0xffn]).toEqual([0n, 0n, 3n])
  })

  it('cannot change a VMPL that is as privileged', () => {
    const box = createSevBox()
    box.program(`${adjust(RmpAdjustAttributes.pack({ targetVmpl: 0n, permissions: 3n }))} f4`)
    box.exit()
    expect(box.state('rsi')).toBe(BigInt(RmpStatus.FAIL_PERMISSION))
  })

  it('makes a page a VMSA, which VMRUN then takes', () => {
    const box = createSevBox()
    box.program(`${adjust(RmpAdjustAttributes.pack({ targetVmpl: 1n, permissions: 0n, vmsa: 1n }), GUEST.other)} f4`)
    box.exit()
    expect(box.entry(GUEST.other)?.vmsa).toBe(true)
    const bytes = new Uint8Array(4096)
    box.memory.read(HOST.vmsa, bytes, ASID)
    box.memory.write(HOST.guest + GUEST.other, bytes, ASID)
    box.program('f4 f4')
    box.poke(GUEST.other + 0x178, BigInt(GUEST.code))
    box.setControl('vmsaPa', HOST.guest + GUEST.other)
    expect(box.exit().code).toBe(SvmExit.HLT)
    expect(box.peek(GUEST.other + 0x178)).toBe(BigInt(GUEST.code + 1))
  })

  it('takes effect on translations that exist', () => {
    const box = createSevBox()
    box.setState('vmpl', 1)
    for (let gpa = 0; gpa < GUEST.size; gpa += 4096) {
      if (gpa !== GUEST.shared) box.setEntry(gpa, { permissions: 0x0f_0f0f })
    }
    const none = RmpAdjustAttributes.pack({ targetVmpl: 2n, permissions: 0n })
    box.program(`${READ} ${adjust(none)} ${READ} f4`)
    expect(box.exit().code).toBe(SvmExit.HLT)
    expect((box.entry(GUEST.data)?.permissions ?? 0) >>> 16).toBe(0)
  })
})

describe('instructions of the host', () => {
  const STATE = 0x3_0000
  const update = (box: SevBox, fields: Parameters<typeof RmpState.create>[0], page: number): bigint => {
    box.memory.write(STATE, RmpState.create(fields))
    expect(box.host('f20f01fe f4', { rax: BigInt(page) * 4096n, rcx: BigInt(STATE) })).toBeNull()
    return box.register(0)
  }

  it('RMPUPDATE assigns a page, and takes it back', () => {
    const box = createSevBox()
    const page = 0xb0_0000 / 4096
    expect(update(box, { gpa: 0x5000n, assigned: 1, asid: ASID }, page)).toBe(0n)
    expect(box.rmp.read(page)).toMatchObject({
      assigned: true, asid: ASID, guestPage: 5, validated: false, permissions: 0xf,
    })
    expect(update(box, {}, page)).toBe(0n)
    expect(box.rmp.read(page)).toMatchObject({ assigned: false, asid: 0 })
  })

  it('RMPREAD shows an entry', () => {
    const box = createSevBox()
    expect(box.host('f20f01fd f4', { rax: BigInt(HOST.guest + GUEST.data), rcx: BigInt(STATE) })).toBeNull()
    const bytes = new Uint8Array(16)
    box.memory.read(STATE, bytes)
    expect(RmpState.read(new DataView(bytes.buffer))).toMatchObject({
      gpa: BigInt(GUEST.data), assigned: 1, asid: ASID,
    })
  })

  it('PSMASH splits a 2 MiB entry and keeps what the guest validated', () => {
    const box = createLargeBox()
    box.rmp.change(LARGE / 4096, { validated: true })
    expect(box.host('f30f01ff f4', { rax: BigInt(LARGE) })).toBeNull()
    expect(box.register(0)).toBe(0n)
    expect(box.rmp.read(LARGE / 4096 + 3)).toMatchObject({ large: false, guestPage: 0x203, validated: true })
    expect(box.host('f30f01ff f4', { rax: BigInt(LARGE) })).toBeNull()
    expect(box.register(0)).toBe(BigInt(PSMASH_FAIL_BADADDR))
  })

  it('are #UD in guests', () => {
    for (const code of ['f20f01fe', 'f20f01fd', 'f30f01ff']) {
      const box = createSevBox()
      box.program(code)
      expect(box.vc()).toBe(1n)
    }
  })
})

describe('VMRUN', () => {
  it('takes only a VMSA page of the guest’s own', () => {
    const vmsa = HOST.vmsa / 4096
    for (const change of [{ vmsa: false }, { asid: ASID + 1 }, { immutable: true }]) {
      const box = createSevBox()
      box.rmp.change(vmsa, change)
      expect(box.exit().code).toBe(-1)
    }
  })

  it('answers VMEXIT_BUSY for a VMSA that runs', () => {
    const box = createSevBox()
    box.rmp.change(HOST.vmsa / 4096, { inUse: true })
    expect(box.exit().code).toBe(-2)
  })

  it('keeps the VMSA from RMPUPDATE while the guest is resident', () => {
    const box = createSevBox()
    box.program('ebfe')
    const free = { assigned: false, guestPage: 0, large: false, asid: 0, immutable: false }
    expect(box.run(10)).toMatchObject({ exit: 'budget' })
    expect(box.silicon.rmpupdate(HOST.vmsa / 4096, free)).toBe(RmpStatus.FAIL_INUSE)
    box.svm.kick()
    expect(box.silicon.rmpupdate(HOST.vmsa / 4096, free)).toBe(RmpStatus.SUCCESS)
  })

  it('needs SNP_ACTIVE to say what the RMP says', () => {
    const box = createSevBox()
    box.setState('sevFeatures', 0)
    expect(box.exit().code).toBe(-1)
    const es = createSevBox('es')
    es.setState('sevFeatures', F.SNPActive)
    expect(es.exit().code).toBe(-1)
  })

  it('by machine code is #GP for a VMCB or a save area in an assigned page', () => {
    const box = createSevBox()
    box.writeMsr(Msr.AMD_VM_HSAVE_PA, BigInt(HOST.save))
    expect(box.host('0f01d8', { rax: BigInt(HOST.guest + GUEST.data) })).toMatchObject({ vector: 13 })
    box.writeMsr(Msr.AMD_VM_HSAVE_PA, BigInt(HOST.guest + GUEST.data))
    expect(box.host('0f01d8', { rax: BigInt(HOST.vmcb) })).toMatchObject({ vector: 13 })
  })
})

describe('virtual top-of-memory', () => {
  it('makes data below it private and above it shared, without C-bits', () => {
    const box = createSevBox('snp', F.vTOM)
    // Entries without C-bits, and a guest page above the line of 2 MiB.
    for (let table = 0; table < 4; table++) {
      for (let at = 0; at < 4096; at += 8) {
        const gpa = GUEST.tables + table * 4096 + at
        box.poke(gpa, box.peek(gpa) & ~C_BIT)
      }
    }
    box.poke(GUEST.tables + 2 * 4096 + 8, 0x20_0000n | 0xe3n)
    box.nested.map({ from: 0x20_0000, to: LARGE, length: 4096, user: true, largest: 12 })
    box.setState('cr3', GUEST.tables)
    box.setState('virtualTom', 0x20_0000)
    box.setState('rcx', 0x1234)
    box.program('890c2500900000 890c2500002000 b9350101c0 0f32 f4')
    expect(box.exit().code).toBe(SvmExit.HLT)
    expect(box.peek(GUEST.data, 4)).toBe(0x1234n)
    expect(box.peek(GUEST.data, 4, 0)).not.toBe(0x1234n)
    expect(box.peekHost(LARGE, 4)).toBe(0x1234n)
    expect(box.state('rax')).toBe(0x20_0000n)
  })
})

describe('SNP', () => {
  it('is turned on by SYSCFG, which then takes no more', () => {
    const box = createSevBox()
    expect(box.rmp.enabled).toBe(true)
    const before = box.readMsr(Msr.AMD_SYSCFG)
    expect(box.writeMsr(Msr.AMD_SYSCFG, 0n)).toBeUndefined()
    expect(box.readMsr(Msr.AMD_SYSCFG)).toBe(before)
  })

  it('locks where the RMP is, and the registers that shape memory', () => {
    const box = createSevBox()
    const shape = [Msr.AMD_TOP_MEM, Msr.AMD_IORR_BASE0, Msr.MTRR_FIX64K_00000, Msr.MTRR_FIX4K_C0000 + 7]
    for (const index of [Msr.AMD_RMP_BASE, Msr.AMD_RMP_END, Msr.AMD_RMP_CFG, ...shape]) {
      expect(box.writeMsr(index, 0n)).toBe('gp')
    }
  })

  it('needs memory encryption', () => {
    const box = createSevBox()
    const { held } = box.processor.cpu.system ?? { held: new Map<number, bigint>() }
    held.delete(Msr.AMD_SYSCFG)
    expect(box.writeMsr(Msr.AMD_SYSCFG, SysCfg.mask.SecureNestedPagingEn)).toBe('gp')
    expect(box.writeMsr(Msr.AMD_SYSCFG, 1n)).toBe('gp')
  })

  it('is claimed by CPUID with C-bit, VMPLs and ASIDs, and caches that need no help', () => {
    const box = createSevBox()
    expect(box.host('b81f000080 31c9 0fa2 f4')).toBeNull()
    expect([box.register(0) & 0x1fn, box.register(3), box.register(1), box.register(2)])
      .toEqual([0x1fn, 51n | (4n << 12n) | (1n << 31n), 1006n, 4n])
    box.host('b800000080 0fa2 f4')
    expect(box.register(0)).toBe(0x8000_0025n)
  })

  it('is not used by a host in TypeScript before it is on', () => {
    const { memory } = createSevBox()
    const silicon = createSevSilicon({ memory, rmp: createRmpTable(memory) })
    expect(() => silicon.psmash(0)).toThrow('before SNP was on')
  })
})
