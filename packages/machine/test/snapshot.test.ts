import { describe, expect, it } from 'vitest'
import { createMachine, decodeSnapshot, encodeSnapshot, plainCodec } from '../src/index.ts'
import type { Machine, MachineOptions, SnapshotCodec } from '../src/index.ts'
import { ENTRY, flatKernel } from './kernels.ts'

const options = (code: string): MachineOptions => ({
  kernel: flatKernel(code), append: '', memory: 16 * 2 ** 20, vcpus: 1, seed: 1, engine: 'auto', cpu: 'intel',
  traceHash: true,
})

const lengthOf = (code: string): number => code.replaceAll(/;.*$/gm, '').replaceAll(/\s+/g, '').length / 2

/** A little-endian word of 32 bits as hexadecimal bytes. */
const word = (value: number): string =>
  [0, 8, 16, 24].map((by) => (value >>> by & 0xff).toString(16).padStart(2, '0')).join('')

/** A gate of the IDT at 6000h for a 32-bit interrupt handler. */
const gate = (vector: number, handler: number): string =>
  `c705 ${word(0x6000 + vector * 8)} ${word(0x8_0000 | handler & 0xffff)} `
  + `c705 ${word(0x6004 + vector * 8)} ${word((handler & 0xffff_0000) | 0x8e00)}\n`

const handlers = `
  ff05 00500000 cf                    ; #DB: inc dword [5000h]; iret
  50 ff05 04500000 b020 e620 58 cf    ; IRQ 0: inc dword [5004h], EOI
`
const setUp = `
  bc00000900                                                 ; mov esp, 90000h
  ${gate(1, ENTRY + 2)} ${gate(0x20, ENTRY + 2 + 7)}
  66c705 00700000 ff07 c705 02700000 00600000 0f011d 00700000 ; lidt
  b011 e620 b020 e621 b004 e621 b001 e621 b0fe e621          ; PIC: only IRQ 0, at vector 20h
  b034 e643 b002 e640 b000 e640 fb                           ; PIT: every 1676 ns; sti
`
const inLoop = `
  d9eb d9fa dd1d 10500000             ; fldpi; fsqrt; fstp qword [5010h]
  0f31 a3 08500000                    ; rdtsc, kept
  8cd1 8ed1 90                        ; mov ss, ecx: a shadow
  83c001 0f92c0 a2 0c500000           ; flags of an addition, kept
  9c 810c2400010000 9d 8ed1 90 90     ; popf with TF: traps, one of them behind a shadow
  9c 812424fffeffff 9d                ; and without
  fa 90 fb 90                         ; STI's shadow
  bf 00081000 b9 40000000 f3aa        ; rep stosb into this page of code
  0fc7f0 a3 18500000                  ; rdrand, kept
  0f6f05 10500000 0f77                ; movq mm0; emms
`
/** Goes on for ever; the last instruction but one counts its own immediate up. */
const restless = ((): string => {
  const entry = `eb ${lengthOf(handlers).toString(16).padStart(2, '0')} ${handlers}`
  const before = `${entry} ${setUp} ${inLoop}`
  const immediate = ENTRY + lengthOf(before) + 6 + 1
  const loop = lengthOf(inLoop) + 6 + 5 + 5
  return `${before} ff05 ${word(immediate)} b8 00000000 e9 ${word(-loop)} ; inc [imm]; mov eax, imm; jmp`
})()

/** Everything that decides what a machine does next. */
const whole = (machine: Machine): object => {
  const { state, image } = machine.snapshot()
  return { state, image }
}

const start = (code: string, engine: MachineOptions['engine'] = 'auto', vcpus = 1): Machine =>
  createMachine({ ...options(code), engine, vcpus })

describe('a snapshot', () => {
  const END = 4000
  const straight = start(restless, 'interp')
  straight.run({ instructions: END })

  it('goes on as the machine did, from behind any instruction and in any engine', { timeout: 120_000 }, () => {
    const walker = start(restless)
    const engines = ['interp', 'jit', 'auto'] as const
    for (let n = 1; n <= 400; n++) {
      walker.run({ instructions: 1 })
      // The first rounds of the loop closely, then now and then.
      if (n < 60 || (n > 130 && n % 7 !== 0)) continue
      const copy = walker.snapshot().fork({ engine: engines[n % 3], traceHash: true })
      expect(whole(copy)).toEqual(whole(walker))
      copy.run({ instructions: END - n })
      expect(whole(copy)).toEqual(whole(straight))
      expect(copy.stats().traceHash).toBe(straight.stats().traceHash)
    }
    const counts = new Uint32Array(2)
    straight.memory.read(0x5000, new Uint8Array(counts.buffer))
    expect(counts[0]).toBeGreaterThan(100)
    expect(counts[1]).toBeGreaterThan(5)
  })

  it('is the same whatever the engine, and however often the caller came back', () => {
    for (const [engine, step] of [['jit', 1], ['auto', 7], ['interp', 1000]] as const) {
      const machine = start(restless, engine)
      for (let left = END; left > 0; left -= step) machine.run({ instructions: Math.min(step, left) })
      expect(whole(machine)).toEqual(whole(straight))
    }
  })

  it('serves many machines side by side, and none of them changes it', () => {
    const machine = start(restless)
    machine.run({ instructions: 1000 })
    const snapshot = machine.snapshot()
    const [one, two] = [snapshot.fork(), snapshot.fork()]
    one.run({ instructions: 500 })
    one.memory.write(0x5000, Uint8Array.of(9, 9, 9))
    two.run({ instructions: 700 })
    one.run({ instructions: 200 })
    machine.run({ instructions: 700 })
    const late = snapshot.fork({ traceHash: true })
    late.run({ instructions: 700 })
    expect(whole(late)).toEqual(whole(machine))
    expect(one.stats().instructions).toBe(1700)
    expect(two.stats().instructions).toBe(1700)
  })

  it('keeps translations that software has not asked to forget, and what follows from them', () => {
    // Identity-mapped 4 MiB pages. The page at 400000h is written, then its accessed flag cleared without INVLPG: the
    // next read finds the translation, and sets no flag.
    const code = `
      b8 10000000 0f22e0                                      ; CR4.PSE
      c705 00002000 83000000 c705 04002000 83004000           ; page directory at 200000h
      b8 00002000 0f22d8 0f20c0 0d 00000080 0f22c0            ; CR3, CR0.PG
      c605 00004000 01 8025 04002000 df                       ; write; clear A
      a1 00004000 ebfe                                        ; read again; stay
    `
    const machine = start(code)
    machine.run({ instructions: 11 })
    const pde = (m: Machine): number => {
      const out = new Uint8Array(1)
      m.memory.read(0x20_0004, out)
      return out[0]
    }
    const copy = machine.snapshot().fork()
    for (const m of [machine, copy]) {
      m.run({ instructions: 100 })
      expect(pde(m)).toBe(0xc3)
    }
    expect(whole(copy)).toEqual({ ...whole(machine), state: { ...machine.snapshot().state, traceHash: null } })
  })

  it('finds pages by translations before it has their contents', async () => {
    // As above, with the accessed and the dirty flag cleared: no way to write or read by the translation sets them.
    const code = `
      eb01 cf                                                 ; the handler of INT 20h: iret
      bc 00084000 ${gate(0x20, ENTRY + 2)}
      66c705 00700000 ff07 c705 02700000 00600000 0f011d 00700000
      b8 10000000 0f22e0
      c705 00002000 83000000 c705 04002000 83004000
      b8 00002000 0f22d8 0f20c0 0d 00000080 0f22c0
      c605 00004000 01 8025 04002000 9f                       ; write; clear A and D
      a1 00004000 a3 04004000                                 ; read, write
      b9 04000000 be 00004000 bf 10004000 f3a4                ; rep movsb
      cd20 ebfe                                               ; the processor pushes by itself
    `
    const machine = start(code)
    machine.run({ instructions: 18 })
    let unpacked = 0
    const lazy: SnapshotCodec = { ...plainCodec, name: 'lazy', decompressNow: (bytes) => { unpacked++; return bytes } }
    const read = await decodeSnapshot(await encodeSnapshot(machine.snapshot(), lazy), { codecs: [lazy] })
    const copy = read.fork({ traceHash: true })
    expect(unpacked).toBe(0)
    for (const m of [machine, copy]) {
      m.run({ instructions: 100 })
      const seen = new Uint8Array(0x14)
      m.memory.read(0x40_0000, seen)
      expect([...seen]).toEqual([1, 0, 0, 0, 1, ...new Array<number>(11).fill(0), 1, 0, 0, 0])
      m.memory.read(0x20_0004, seen)
      expect(seen[0]).toBe(0x83)
    }
    expect(unpacked).toBeGreaterThan(0)
    expect(whole(copy)).toEqual(whole(machine))
  })

  it('holds what waits in the serial port, and what the caller keeps with it', () => {
    const echo = '66bafa03 b001 ee 66bafc03 b003 ee 66bafd03 ec a801 74f7 66baf803 ec ee ebed'
    const machine = start(echo)
    machine.run({ instructions: 20 })
    machine.serialInput(Uint8Array.of(65, 66))
    const snapshot = machine.snapshot({ lines: ['a', 'b'] })
    let text = ''
    const copy = snapshot.fork({ onSerial: (bytes) => { text += String.fromCharCode(...bytes) } })
    copy.run({ instructions: 200 })
    expect(text).toBe('AB')
    expect(snapshot.attachment).toEqual({ lines: ['a', 'b'] })
  })

  it('is refused of a machine that has ended', () => {
    const machine = start('66ba0406 66b80020 66ef f4')
    machine.run({ instructions: 100 })
    expect(() => machine.snapshot()).toThrow('machine: state: it has ended')
  })

  it.each([
    [{ memory: 2 ** 25 }, 'snapshot: memory: it has 16777216; asked for 33554432'],
    [{ vcpus: 2 }, 'snapshot: vcpus: it has 1; asked for 2'],
    [{ cpu: 'amd' }, 'snapshot: cpu: it has intel; asked for amd'],
    [{ seed: 2 }, 'snapshot: seed: it has 1; asked for 2'],
    [{ cc: 'snp' }, 'snapshot: cc: it has none; asked for snp'],
  ] as const)('is refused for a machine of other options: %o', (other, message) => {
    const snapshot = start(restless).snapshot()
    expect(() => snapshot.fork(other)).toThrow(message)
  })

  it('cannot go on with a hash over all events that it did not keep', () => {
    const snapshot = createMachine({ ...options(restless), traceHash: false }).snapshot()
    expect(() => snapshot.fork({ traceHash: true })).toThrow('snapshot: traceHash: expected a hash')
  })
})
