import { describe, expect, it } from 'vitest'
import { createMachine } from '../src/index.ts'
import type { Machine, MachineOptions } from '../src/index.ts'

const hex = (code: string): number[] =>
  code.replaceAll(/;.*$/gm, '').match(/[0-9a-f]{2}/gi)?.map((two) => Number.parseInt(two, 16)) ?? []

/** An erased image with code at offsets; the reset vector jumps to offset 0 (CS:IP F000:F000 at FFFFF000h). */
const firmware = (parts: Readonly<Record<number, string>>): Uint8Array => {
  const bytes = new Uint8Array(4096).fill(0xff)
  for (const [at, code] of Object.entries({ ...parts, 0xff0: 'e90df0' })) bytes.set(hex(code), Number(at))
  return bytes
}

const create = (bytes: Uint8Array, options: Partial<MachineOptions> = {}): { machine: Machine, debug: number[] } => {
  const debug: number[] = []
  const machine = createMachine({
    firmware: { name: 'fw', bytes }, append: '', memory: 64 * 2 ** 20, vcpus: 1, seed: 1, engine: 'auto', cpu: 'intel',
    onSerial: () => undefined, onDebugConsole: (byte) => { debug.push(byte) },
    ...options,
  })
  return { machine, debug }
}

/** Reaches memory beyond 1 MiB from real mode, copies what is at 100h to RAM at 1000h, and goes there. */
const toRam = {
  0: `
    fa 2e660f0116f0f0   ; cli; lgdt cs:[f0f0]
    0f20c0 0c01 0f22c0  ; protected mode
    eb00 bb0800 8edb    ; ds is flat
    24fe 0f22c0         ; real mode, ds keeps its limit
    66be00f1ffff 66bf00100000 b90001
    678a06 678807 6646 6647 e2f4  ; copy 100h bytes from fffff100 to 1000
    ea00100000          ; jmp 0:1000`,
  0xe0: '0000000000000000 ffff00000093cf00',
  0xf0: '0f00 e0f0ffff',
}

/** show: prints [esi] on the debug console; pam: writes AL to PAM0. Both follow the code at 100h. */
const helpers = '678a06 e6e9 c3  50 66b890000080 baf80c 66ef 58 bafc0c ee c3'

describe('firmware', () => {
  it('starts at the reset vector, in the last 16 bytes below 4 GiB', () => {
    const { machine, debug } = create(firmware({ 0: 'b052 e6e9 b000 e6f4' }))
    expect(machine.places()[0].rip).toBe(0xfff0n)
    expect(machine.run({ instructions: 1000 })).toMatchObject({ reason: 'debug-exit', code: 0 })
    expect(debug).toEqual([0x52])
  })

  it.each(['interp', 'jit'] as const)('writes its flash and shadows itself below 1 MiB (%s)', (engine) => {
    const rom = 0xb0
    const { machine, debug } = create(firmware({
      ...toRam,
      0x100: `
        66be00f8ffff 67c60640 67c60652 e84b00  ; program 52h at fffff800: status
        67c606ff e84400                        ; array: 52h
        66be00f20f00 e83b00                    ; ff200: what is at 200h of the ROM
        67c60610 e83400                        ; written: the ROM
        b020 e83500 67c60611 e82800            ; PAM: writes to RAM, reads from ROM
        b010 e82900 e82000                     ; reads from RAM: 11h
        67c60622 e81900                        ; writes are lost: 11h
        b030 e81a00 67c60633 e80d00            ; RAM: 33h
        b000 e80e00 e80500                     ; ROM again
        ea00f200f0${helpers}`,
      0x200: 'b041 e6e9 b000 e6f4 f4',
    }), { engine })
    expect(machine.run({ instructions: 1e5 })).toMatchObject({ reason: 'debug-exit', code: 0 })
    expect(debug).toEqual([0x80, 0x52, rom, rom, rom, 0x11, 0x11, 0x33, rom, 0x41])
  })

  it('finds its variables as the last machine left them', () => {
    const GUID = '8d2bf1ff 96768b4c a985274707 5b4f50'
    const store = `00000000000000000000000000000000 ${GUID} 0010000000000000 5f465648`
    const image = new Uint8Array(8192).fill(0xff)
    image.set(hex(store))
    image.set(firmware({ 0: 'b000 e6f4' }), 4096)
    const { machine } = create(image)
    const flash = 0xffff_e000
    machine.memory.mmio.write(flash + 0x800, 1, 0x40)
    machine.memory.mmio.write(flash + 0x800, 1, 0x12)
    const vars = machine.variables()
    expect([vars?.length, vars?.[0x800]]).toEqual([4096, 0x12])
    const next = create(image, { vars: { name: 'vars', bytes: vars ?? new Uint8Array(0) } })
    const read = new Uint8Array(1)
    next.machine.memory.read(flash + 0x800, read)
    expect(read[0]).toBe(0x12)
    expect(image[0x800]).toBe(0xff)
  })

  it('may run into nothing: then the processor goes on in zeroes, in real mode, for as long as it is let', () => {
    const bytes = new Uint8Array(4096).fill(0xff)
    bytes[4095] = 0
    const { machine } = create(bytes)
    // FF FF is #UD; the empty vectors lead to 0:0.
    expect(machine.run({ instructions: 1e5 }).reason).toBe('budget')
    expect(machine.places()[0].mode).toContain('16-bit')
  })

  it('is needed when there is no kernel', () => {
    expect(() => create(firmware({}), { firmware: undefined })).toThrow('kernel: file: none')
    expect(() => create(firmware({}), { firmware: undefined, vars: { name: 'v', bytes: new Uint8Array(4096) } }))
      .toThrow('kernel: file')
  })

  it('is refused by name and field', () => {
    expect(() => create(new Uint8Array(100))).toThrow('fw: size: 100 bytes; a firmware image has a multiple of 4096')
  })
})
