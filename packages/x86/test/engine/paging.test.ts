/**
 * Page faults with their error codes, permissions, and translations that may or may not be stale (SDM vol. 3 chapter
 * 4).
 */
import { describe, expect, it } from 'vitest'
import { CR3, CR4 } from '../../src/state.ts'
import { AT, PTE, SEL, createBare, entryOf } from './bare.ts'
import type { Bare } from './bare.ts'

const PAGE = 4096
const AC = 0x4_0000
const CR4_PGE = 0x80
const CR4_PCIDE = 0x2_0000
const CR4_LA57 = 0x1000
const CR4_UMIP = 0x800
const CR4_SMEP = 0x10_0000
const CR4_SMAP = 0x20_0000
const CR4_PKE = 0x40_0000
const PCIDE_ON = `0f 20 e0 0f ba e8 11 0f 22 e0 ; cr4.pcide = 1
`
/** Where data and code of the user are, as `AT.user` says. */
const USER_DATA = AT.user + 0x10_000
const le = (value: number, bytes = 4): string =>
  Array.from({ length: bytes }, (_, i) => ((value >>> (8 * i)) & 0xff).toString(16).padStart(2, '0')).join(' ')

describe.each(['interp', 'jit'] as const)('the %s engine', (engine) => {
  const load = (text: string, options: { cr4?: number; at?: number; ramBytes?: number } = {}): Bare => {
    const { at = AT.code, ...rest } = options
    const bare = createBare({ width: 64, engine, ...rest })
    bare.program(text, at)
    bare.jump(at)
    return bare
  }
  /** Goes to ring 3 at AT.user, then runs `text` there. */
  const inUser = (text: string, cr4 = 0): Bare => {
    const bare = load(
      `6a ${le(SEL.userData, 1)} 68 ${le(AT.userStack)} 6a 02 6a ${le(SEL.user64, 1)} 68 ${le(AT.user)} 48 cf`, { cr4 },
    )
    bare.program(text, AT.user)
    return bare
  }
  const only = (bare: Bare): { vector: number; error: number; rip: number; cr2: number } => {
    const events = bare.events()
    expect(events.length).toBe(1)
    const [{ vector, error, rip, cr2 }] = events
    return { vector, error, rip: Number(rip), cr2: Number(cr2) }
  }

  describe('page faults', () => {
    const at = AT.data + 5 * PAGE + 0x123
    const cases: [string, string, (bare: Bare) => void, number][] = [
      ['a read of a page that is not there', '8b 06', (b) => { b.poke64(entryOf(at), 0n) }, 0],
      ['a write to a page that is not there', '89 06', (b) => { b.poke64(entryOf(at), 0n) }, 2],
      ['a write to a read-only page', '89 06', (b) => { b.poke64(entryOf(at), BigInt(at & ~0xfff) | 1n) }, 3],
      ['a read-modify-write of a read-only page', '01 06',
        (b) => { b.poke64(entryOf(at), BigInt(at & ~0xfff) | 1n) }, 3],
      ['a reserved bit', '8b 06', (b) => { b.poke64(entryOf(at), BigInt(at & ~0xfff) | 3n | (1n << 51n)) }, 9],
      ['a fetch from a page that is not there', 'ff e6', (b) => { b.poke64(entryOf(at), 0n) }, 0x10],
      ['a fetch from a no-execute page', 'ff e6',
        (b) => { b.poke64(entryOf(at), BigInt(at & ~0xfff) | 3n | PTE.NX) }, 0x11],
    ]
    it.each(cases)('%s', (_name, text, prepare, error) => {
      const bare = load(`90 ${text} f4`)
      prepare(bare)
      bare.set({ rsi: at })
      bare.run()
      const rip = text === 'ff e6' ? at : AT.code + 1
      expect(only(bare)).toEqual({ vector: 14, error, rip, cr2: at })
    })

    const userCases: [string, string, number, number][] = [
      ['a read of a supervisor page', '8b 06', AT.data, 5],
      ['a write to a supervisor page', '89 06', AT.data, 7],
      ['a fetch from a supervisor page', 'ff e6', AT.data, 0x15],
      ['a write to a page that is not there', '89 06', USER_DATA, 6],
    ]
    it.each(userCases)('of the user: %s', (_name, text, address, error) => {
      const bare = inUser(`90 ${text}`)
      bare.poke64(entryOf(USER_DATA), 0n)
      bare.set({ rsi: address })
      bare.run()
      expect(only(bare)).toEqual({ vector: 14, error, rip: text === 'ff e6' ? address : AT.user + 1, cr2: address })
    })

    it('of an access over two pages names the second page\'s first byte', () => {
      const bare = load('48 89 06 f4')
      bare.poke64(entryOf(AT.data + PAGE), 0n)
      bare.poke64(AT.data + PAGE - 4, 0x1111n)
      bare.set({ rsi: AT.data + PAGE - 4, rax: -1n })
      bare.run()
      expect(only(bare)).toEqual({ vector: 14, error: 2, rip: AT.code, cr2: AT.data + PAGE })
      // Nothing of it was written.
      expect(bare.peek(AT.data + PAGE - 4, 4)).toBe(0x1111n)
    })

    it('leave registers and flags as they were, and the instruction runs when it is tried again', () => {
      // The handler maps the page: its #PF entry is replaced.
      const bare = load(`b9 64 00 00 00 again: 48 83 e8 01 48 11 06 48 81 c6 00 10 00 00 ff c9 75 [again:rel8] f4
        ; mov ecx,100; again: sub rax,1; adc [rsi],rax; add rsi,1000h`)
      for (let i = 0; i < 100; i++) bare.poke64(entryOf(0x10_0000 + i * PAGE), (BigInt(0x10_0000 + i * PAGE)) | 2n)
      bare.program(`
        48 83 c4 08 50             ; add rsp,8; push rax
        0f 20 d0 48 c1 e8 0c       ; mov rax,cr2; shr rax,12
        48 83 0c c5 ${le(entryOf(0))} 01 ; or qword [entries+rax*8],1
        49 ff c6 58 48 cf          ; inc r14; pop rax; iretq
      `, AT.handlers + 14 * 0x80)
      bare.set({ rsi: 0x10_0000, rax: 0 })
      bare.run()
      expect((bare.engine.jit?.counts.regions ?? 0) > 0).toBe(engine === 'jit')
      expect(bare.get('r14')).toBe(100n)
      for (let i = 0; i < 100; i++) {
        expect(bare.peek(0x10_0000 + i * PAGE, 8)).toBe(BigInt.asUintN(64, BigInt(-1 - i) + (i === 0 ? 1n : 0n)))
      }
    })

    it('stop a repetition with the registers of the rounds done', () => {
      const bare = load('f3 48 ab f4 ; rep stosq')
      bare.poke64(entryOf(AT.data + PAGE), 0n)
      bare.set({ rdi: AT.data + PAGE - 32, rcx: 10 })
      bare.run()
      expect(only(bare)).toEqual({ vector: 14, error: 2, rip: AT.code, cr2: AT.data + PAGE })
      expect([bare.get('rcx'), bare.get('rdi')]).toEqual([6n, BigInt(AT.data + PAGE)])
    })

    it('an address that is not canonical is #GP, and #SS in the stack', () => {
      for (const [text, vector] of [['8b 06', 13], ['8b 04 24', 12], ['50', 12]] as const) {
        const bare = load(text)
        // The handler has a stack of its own.
        bare.poke64(AT.tss + 0x24, BigInt(AT.stack - 0x1000))
        bare.poke(AT.idt + vector * 16 + 4, 1)
        bare.set({ rsi: 0x8000_0000_0000n, rsp: 0x8000_0000_1000n })
        bare.run()
        expect(only(bare)).toMatchObject({ vector, error: 0, rip: AT.code })
      }
    })
  })

  describe('accessed and dirty bits', () => {
    it('are set by the access that needs them, and the dirty bit by the first write after a read', () => {
      const bare = load('8b 06 89 06 f4')
      bare.set({ rsi: AT.data })
      bare.run(1)
      expect(bare.peek(entryOf(AT.data), 8) & 0x60n).toBe(PTE.A)
      bare.run(1)
      expect(bare.peek(entryOf(AT.data), 8) & 0x60n).toBe(PTE.A | PTE.D)
    })
  })

  describe('translations', () => {
    const other = AT.data + PAGE
    const change = '48 89 1f ; mov [rdi],rbx (the entry)\n'
    const read = '48 8b 06 ; mov rax,[rsi]\n'
    const invpcid = (type: string): string =>
      `ba ${type} 00 00 00 66 0f 38 82 55 00 ; mov edx,type; invpcid rdx,[rbp]\n`
    const prepared = (text: string, bits = 3n, options = {}): Bare => {
      const bare = load(`${read}${change}${text} 48 8b 0e f4`, options)
      bare.poke64(AT.data, 1n)
      bare.poke64(other, 2n)
      bare.poke64(entryOf(AT.data), BigInt(AT.data) | bits)
      bare.set({ rsi: AT.data, rdi: entryOf(AT.data), rbx: BigInt(other) | bits })
      return bare
    }

    it.each([
      ['INVLPG', '0f 01 3e', 3n, 0],
      ['INVLPG of a global page', '0f 01 3e', 3n | PTE.G, CR4_PGE],
      ['a CR3 write', '0f 20 da 0f 22 da', 3n, 0],
      ['a change of CR4.PGE, for global pages', '0f 20 e2 80 f2 80 0f 22 e2', 3n | PTE.G, CR4_PGE],
      ['INVPCID of the address', invpcid('00'), 3n, CR4_PCIDE],
      ['INVPCID of its PCID', invpcid('01'), 3n, CR4_PCIDE],
      ['INVPCID of all but global pages', invpcid('03'), 3n, CR4_PCIDE],
      ['INVPCID of everything', invpcid('02'), 3n | PTE.G, CR4_PCIDE | CR4_PGE],
    ])('are made anew after %s', (_name, text, bits, cr4) => {
      const bare = prepared(text, bits, { cr4 })
      bare.set({ rbp: AT.data + 0x800 })
      bare.poke64(AT.data + 0x808, BigInt(AT.data))
      bare.run()
      expect(bare.events()).toEqual([])
      expect(bare.get('rcx')).toBe(2n)
    })

    it('of global pages outlive a CR3 write', () => {
      const bare = prepared('0f 20 da 0f 22 da', 3n | PTE.G, { cr4: CR4_PGE })
      bare.run()
      expect([1n, 2n]).toContain(bare.get('rcx'))
    })

    it('of large pages go as a whole', () => {
      // 4 MiB: a 2 MiB page; its entry is changed, and another 4 KiB of it is invalidated.
      const bare = load(`${read}${change} 0f 01 be 00 50 00 00 48 8b 0e f4`, { ramBytes: 2 ** 24 })
      const entry = AT.tables + 0x2000 + 16
      bare.poke64(0x40_0000, 1n)
      bare.poke64(0x60_0000, 2n)
      bare.set({ rsi: 0x40_0000, rdi: entry, rbx: 0x60_0083n })
      bare.run()
      expect([bare.get('rax'), bare.get('rcx')]).toEqual([1n, 2n])
    })

    it('a write right lost is lost after INVLPG', () => {
      const bare = load('89 06 48 89 1f 0f 01 3e 89 06 f4')
      bare.set({ rsi: AT.data, rdi: entryOf(AT.data), rbx: BigInt(AT.data) | 1n })
      bare.run()
      expect(only(bare)).toMatchObject({ vector: 14, error: 3, rip: AT.code + 8 })
    })

    it('a right won needs no invalidation', () => {
      const bare = load('8b 06 48 89 1f 89 06 f4')
      bare.poke64(entryOf(AT.data), BigInt(AT.data) | 1n)
      bare.set({ rsi: AT.data, rdi: entryOf(AT.data), rbx: BigInt(AT.data) | 3n })
      bare.run()
      expect(bare.events()).toEqual([])
    })

    it.each([
      ['INVPCID of an address of another PCID', '00', 7n, 3n],
      ['INVPCID of another PCID', '01', 7n, 3n],
      ['INVPCID of its PCID, for global pages', '01', 0n, 3n | PTE.G],
      ['INVPCID of all but global pages, for these', '03', 0n, 3n | PTE.G],
    ])('outlive %s', (_name, type, pcid, bits) => {
      const bare = prepared(invpcid(type), bits, { cr4: CR4_PCIDE | CR4_PGE })
      bare.set({ rbp: AT.data + 0x800 })
      bare.poke64(AT.data + 0x800, pcid)
      bare.poke64(AT.data + 0x808, BigInt(AT.data))
      bare.run()
      expect(bare.events()).toEqual([])
      expect(bare.get('rcx')).toBe(1n)
    })

    it('belong to their PCID', () => {
      // Two spaces under PCIDs 1 and 2, switched without flushing.
      const bare = load(`${PCIDE_ON}
        b9 32 00 00 00
        again: 41 0f 22 d8 03 1e 41 0f 22 d9 03 2e ff c9 75 [again:rel8] f4
        ; mov cr3,r8; add ebx,[rsi]; mov cr3,r9; add ebp,[rsi]`)
      const second = 0x60_000
      const bytes = new Uint8Array(0x4000)
      bare.memory.read(AT.tables, bytes)
      bare.memory.write(second, bytes)
      for (let i = 0; i < 3; i++) bare.poke64(second + i * PAGE, BigInt(second + (i + 1) * PAGE) | 7n)
      bare.poke64(second + entryOf(AT.data) - AT.tables, BigInt(other) | 3n)
      bare.poke64(AT.data, 1n)
      bare.poke64(other, 3n)
      bare.set({ rsi: AT.data, r8: BigInt(AT.tables + 1) | (1n << 63n), r9: BigInt(second + 2) | (1n << 63n) })
      while (!bare.processor.halted) bare.processor.run(40)
      expect(bare.events()).toEqual([])
      expect([bare.get('rbx'), bare.get('rbp')]).toEqual([50n, 150n])
      expect(bare.processor.cpu.views.u64[CR3 >>> 3]).toBe(BigInt(second + 2))
    })
  })

  describe('5-level paging', () => {
    const load57 = (text: string): Bare => {
      const bare = load(text)
      // A root above the old one; entry 256 is the same space again, at ff00000000000000h.
      bare.poke64(0x60_000, BigInt(AT.tables) | 7n)
      bare.poke64(0x60_000 + 256 * 8, BigInt(AT.tables) | 7n)
      const { u64 } = bare.processor.cpu.views
      u64[CR3 >>> 3] = 0x60_000n
      bare.setState(CR4, u64[CR4 >>> 3] | BigInt(CR4_LA57))
      bare.processor.cpu.flushTlb(1)
      return bare
    }

    it('reaches data and code beyond 48 bits', () => {
      const bare = load57('b9 64 00 00 00 48 03 06 ff e3 ; mov ecx,100; add rax,[rsi]; jmp rbx')
      bare.program('again: 48 03 06 ff c9 75 [again:rel8] f4', AT.code + 0x100)
      bare.poke64(AT.data, 1n)
      bare.set({ rsi: (0xff00n << 48n) | BigInt(AT.data), rbx: (0xff00n << 48n) | BigInt(AT.code + 0x100) })
      for (bare.processor.halted = false; !bare.processor.halted;) bare.processor.run(70)
      expect(bare.events()).toEqual([])
      expect(bare.get('rax')).toBe(101n)
      expect(bare.rip() >> 48n).toBe(0xff00n)
    })

    it('raises #GP beyond 57 bits, and #PF below where nothing is', () => {
      for (const [address, vector] of [[1n << 57n, 13], [1n << 50n, 14]] as const) {
        const bare = load57('8b 06')
        bare.set({ rsi: address })
        bare.run()
        expect(bare.events().map((e) => e.vector)).toEqual([vector])
      }
    })
  })

  describe('protections of the supervisor', () => {
    it('SMEP: no fetch from a user page', () => {
      const bare = load('ff e6', { cr4: CR4_SMEP })
      bare.program('f4', AT.user)
      bare.set({ rsi: AT.user })
      bare.run()
      expect(only(bare)).toEqual({ vector: 14, error: 0x11, rip: AT.user, cr2: AT.user })
    })

    it('SMAP: no data of a user page unless AC is set', () => {
      const text = '0f 01 cb 8b 06 89 06 0f 01 ca 89 06 ; stac; mov eax,[rsi]; mov [rsi],eax; clac; mov [rsi],eax'
      const bare = load(text, { cr4: CR4_SMAP })
      bare.set({ rsi: USER_DATA })
      bare.run()
      expect(only(bare)).toEqual({ vector: 14, error: 3, rip: AT.code + 10, cr2: USER_DATA })
      expect(bare.flags() & AC).toBe(0)
    })

    it('SMAP: the user itself, and POPF with AC, may', () => {
      const user = inUser('89 06 0f 0b', CR4_SMAP)
      user.set({ rsi: USER_DATA })
      user.run()
      expect(only(user).vector).toBe(6)
      const bare = load(
        '9c 81 0c 24 00 00 04 00 9d 8b 06 9c 81 24 24 ff ff fb ff 9d 8b 06 ; popf with AC, then without',
        { cr4: CR4_SMAP },
      )
      bare.set({ rsi: USER_DATA })
      bare.run()
      expect(only(bare)).toMatchObject({ vector: 14, error: 1, rip: AT.code + 20 })
    })

    it.each([
      ['sgdt [rsi]', '0f 01 06'], ['sidt [rsi]', '0f 01 0e'], ['sldt eax', '0f 00 c0'], ['str eax', '0f 00 c8'],
      ['smsw eax', '0f 01 e0'],
    ])(
      'UMIP: %s is #GP for the user', (_name, text) => {
        const bare = inUser(text, CR4_UMIP)
        bare.set({ rsi: USER_DATA })
        bare.run()
        expect(only(bare)).toMatchObject({ vector: 13, error: 0, rip: AT.user })
        const free = inUser(`${text} 0f 0b`)
        free.set({ rsi: USER_DATA })
        free.run()
        expect(only(free).vector).toBe(6)
      })

    it.each([
      [1, '8b 06', 0x25], [1, '89 06', 0x27], [2, '89 06', 0x27],
    ])('PKU: PKRU bits %i against %s', (bits, text, error) => {
      const bare = inUser(`8b 06 89 06 b8 ${le(bits << 10)} 31 c9 31 d2 0f 01 ef fault: ${text} 0f 0b`, CR4_PKE)
      bare.poke64(entryOf(USER_DATA), BigInt(USER_DATA) | 7n | (5n << 59n))
      bare.set({ rsi: USER_DATA })
      bare.run()
      expect(only(bare)).toEqual({ vector: 14, error, rip: AT.user + 16, cr2: USER_DATA })
    })

    it('PKU: write-disable allows reads', () => {
      const bare = inUser(`b8 ${le(2 << 10)} 31 c9 31 d2 0f 01 ef 8b 06 0f 0b`, CR4_PKE)
      bare.poke64(entryOf(USER_DATA), BigInt(USER_DATA) | 7n | (5n << 59n))
      bare.set({ rsi: USER_DATA })
      bare.run()
      expect(only(bare).vector).toBe(6)
    })
  })
})
