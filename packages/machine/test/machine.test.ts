import { describe, expect, it } from 'vitest'
import { createMachine } from '../src/index.ts'
import type { Machine, MachineEvent, MachineOptions, RunResult } from '../src/index.ts'
import { ENTRY, flatKernel } from './kernels.ts'

const create = (code: string, options: Partial<MachineOptions> = {}): { machine: Machine, text: () => string } => {
  let text = ''
  const machine = createMachine({
    kernel: flatKernel(code), append: '', memory: 16 * 2 ** 20, vcpus: 1, seed: 1, engine: 'auto', cpu: 'intel',
    onSerial: (bytes) => { text += String.fromCharCode(...bytes) },
    ...options,
  })
  return { machine, text: () => text }
}

/** Runs on, over idle times, until something else happens or `instructions` are spent. */
const runOn = (machine: Machine, instructions = 1e6): RunResult => {
  let result = machine.run({ instructions })
  for (let i = 0; i < 1000 && result.reason === 'idle' && result.idleUntil !== undefined; i++) {
    result = machine.run({ instructions })
  }
  return result
}

const hlt = 'f4'
const powerOff = '66ba0406 66b80020 66ef' // out 604h, SLP_EN

describe('a machine', () => {
  it('starts the kernel in its entry, and stops where the budget ends, to the instruction', () => {
    const { machine } = create('90 90 90 90 90 ebfe')
    expect(machine.run({ instructions: 3 })).toEqual({ reason: 'budget' })
    expect(machine.places()).toMatchObject([{ cpu: 0, rip: BigInt(ENTRY + 3), mode: '32-bit, CPL 0' }])
    expect(machine.stats()).toMatchObject({ instructions: 3, virtualTime: 3 })
  })

  it('powers off by ACPI', () => {
    const { machine } = create(`${powerOff} ${hlt}`)
    expect(machine.run({ instructions: 1000 })).toEqual({ reason: 'poweroff' })
    expect(machine.stats().instructions).toBe(3)
  })

  it('tells of a reset, by port CF9h', () => {
    const { machine } = create(`66baf90c b006 ee ${hlt}`)
    expect(machine.run({ instructions: 1000 })).toEqual({ reason: 'reset', by: 'cf9' })
  })

  it('ends with the value that is written to the debug-exit port', () => {
    const { machine } = create(`66baf400 b02a ee ${hlt}`)
    expect(machine.run({ instructions: 1000 })).toEqual({ reason: 'debug-exit', code: 42, status: 85 })
  })

  it('says that a processor shut down after a triple fault, and its state', () => {
    const { machine } = create('0f0b') // ud2, without an IDT
    const result = machine.run({ instructions: 1000 })
    expect(result).toMatchObject({ reason: 'shutdown' })
    expect(result).toHaveProperty('message', expect.stringContaining('triple fault'))
    expect(result).toHaveProperty('state', machine.describe(0))
  })

  it('goes no further once it has ended', () => {
    const { machine } = create(`${powerOff} ${powerOff} ${hlt}`)
    expect(machine.run({ instructions: 1000 })).toEqual({ reason: 'poweroff' })
    expect(machine.run({ instructions: 1000 })).toEqual({ reason: 'poweroff' })
    expect(machine.stats().instructions).toBe(3)
  })

  it('is idle for ever after HLT with interrupts off', () => {
    const { machine } = create(hlt)
    expect(machine.run({ instructions: 1000 })).toEqual({ reason: 'idle' })
    expect(machine.places()[0]?.mode).toBe('32-bit, CPL 0, halted')
  })

  it('goes on from HLT at the next timer, without waiting for it', () => {
    // PIT channel 0, mode 0, 65536 counts; the PIC's IRQ 0 at vector 20h, which an IDT at 5000h sends to `tick`.
    const { machine, text } = create(`
      b011 e620 b020 e621 b004 e621 b001 e621 b0fe e621 ; PIC
      b030 e643 b000 e640 b000 e640                     ; PIT
      66c705 00510000 8000 66c705 02510000 0800         ; gate 20h: low half of the address, selector
      66c705 04510000 008e 66c705 06510000 1000         ; 32-bit interrupt gate, high half
      66c705 00600000 ff01 c705 02600000 00500000       ; IDTR image
      0f011d 00600000 fb f4                             ; lidt; sti; hlt
      66baf803 b054 ee ${powerOff} f4                   ; tick: write T, power off
    `)
    expect(runOn(machine)).toEqual({ reason: 'poweroff' })
    expect(text()).toBe('T')
    // 65536 periods of 1193182 Hz are 54.9 ms.
    expect(machine.stats().virtualTime).toBeGreaterThan(54.9e6)
    expect(machine.stats().virtualTime).toBeLessThan(55e6)
    expect(machine.stats().instructions).toBeLessThan(100)
  })

  it('sends what the guest writes to COM1, and gives it what is typed', () => {
    // Turns the FIFO on, raises DTR and RTS, then echoes what it reads until it is a line feed.
    const { machine, text } = create(`
      66bafa03 b001 ee 66bafc03 b003 ee
      66bafd03 ec a801 74f7 66baf803 ec ee 3c0a 75ed ${powerOff}
    `)
    expect(machine.run({ instructions: 1000 })).toEqual({ reason: 'budget' })
    expect(machine.serialInput(new TextEncoder().encode('hi\n'))).toBe(3)
    expect(machine.run({ instructions: 1000 })).toEqual({ reason: 'poweroff' })
    expect(text()).toBe('hi\n')
  })

  it('keeps other processors waiting for a start-up IPI', () => {
    const { machine } = create(hlt, { vcpus: 3 })
    expect(machine.run({ instructions: 1000 })).toEqual({ reason: 'idle' })
    expect(machine.places().map(({ mode }) => mode.split(',')[0])).toEqual(
      ['32-bit', 'waits for a start-up IPI', 'waits for a start-up IPI'])
  })

  it('gives the same random numbers for the same seed, and others for another', () => {
    const draw = (seed: number): string => {
      const { machine, text } = create(`b90800 0000 0fc7f0 66baf803 ee e2f6 ${powerOff}`, { seed })
      expect(machine.run({ instructions: 1000 })).toEqual({ reason: 'poweroff' })
      return text()
    }
    expect(draw(7)).toHaveLength(8)
    expect(draw(7)).toBe(draw(7))
    expect(draw(7)).not.toBe(draw(8))
  })

  it.each(['interp', 'jit', 'auto'] as const)('counts instructions alike with the engine %s', (engine) => {
    // Adds 1 to 100000 and ends with the sum's lowest byte.
    const { machine } = create('31c0 b9a0860100 01c8 e2fc 66baf400 ee', { engine })
    expect(runOn(machine)).toMatchObject({ reason: 'debug-exit', code: 0x50 })
    expect(machine.stats().instructions).toBe(2 + 2 * 100_000 + 2)
  })
})

describe('bad input', () => {
  it.each<[string, Partial<MachineOptions>, string]>([
    ['an empty kernel', { kernel: { name: 'k', bytes: new Uint8Array(0) } }, 'k: size: the file is empty'],
    ['a kernel of no known format', { kernel: { name: 'k', bytes: new Uint8Array(4096).fill(7) } }, 'k: format: '],
    ['memory that is no multiple of 4096', { memory: 2 ** 24 + 1 }, 'memory: size: 16777217 bytes; expected '],
    ['no processor', { vcpus: 0 }, 'vcpus: count: 0; expected 1 to 64'],
    ['half a processor', { vcpus: 1.5 }, 'vcpus: count: 1.5; expected '],
    ['a seed that is no whole number', { seed: Number.NaN }, 'seed: value: NaN; expected '],
    ['too little memory', { memory: 2 ** 20 }, 'memory: size: 1 MiB; expected 16 MiB to '],
  ])('names the file or option, and the field, for %s', (_what, options, message) => {
    expect(() => create(hlt, options)).toThrow(message)
  })
})

describe('an exception whose stack is in a device', () => {
  it.each(['interp', 'jit'] as const)('reaches it at the time of the instruction (%s)', (engine) => {
    const events: MachineEvent[] = []
    const { machine } = create(`
      c7053000200049000800 c70534002000008e1000  ; the gate of #UD, at 200030h
      0f011d4d001000 bc2000c0fe                  ; lidt; esp in the I/O APIC's page
      b903000000 e2fe 0f0b                       ; loop 3 times; ud2
      b000 e6f4                                  ; its handler: out F4h
      3f0000002000                               ; IDT at 200000h`,
    { engine, onEvent: (event) => { events.push(event) } })
    expect(machine.run({ instructions: 1000 })).toMatchObject({ reason: 'debug-exit', code: 0 })
    const pushes = events.filter(({ name, data }) => name === 'I/O APIC' && data?.write === true)
    // Eight instructions, and the one that faults; then half a microsecond for each access.
    expect(pushes.map(({ at, data }) => [at, data?.offset])).toEqual([[9, 0x1c], [509, 0x18], [1009, 0x14]])
  })
})
