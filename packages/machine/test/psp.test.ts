/** The PSP in a machine whose host is machine code: what a BIOS keeps for it, what is refused, what it survives. */
import { lowMemory, pcMemoryMap } from '@cofferdam/boot'
import { createPspMailbox, createVirtualClock, COST } from '@cofferdam/devices'
import {
  E820Type, Msr, PspCommand, PspMailboxResponse, PspRegister, PspStatus, SnpAddress, SysCfg,
} from '@cofferdam/spec'
import { configureModel, epycGenoa, systemOf } from '@cofferdam/x86'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createRam } from '../src/board.ts'
import { createDma } from '../src/devices.ts'
import { createMachine } from '../src/index.ts'
import type { DeviceOption, MachineOptions } from '../src/index.ts'
import { createProcessors, processorsOverhead } from '../src/processors.ts'
import type { Processors } from '../src/processors.ts'
import { createRandom } from '../src/random.ts'
import { createHostSilicon, reserveRmp } from '../src/snp/host-silicon.ts'

const MiB = 2 ** 20
const none = (): void => undefined

/** Processors with the silicon, and a mailbox before its firmware. */
function createBox(ram = 64 * MiB) {
  const memory = createRam(ram, processorsOverhead(2))
  const model = configureModel(epycGenoa)
  let charged = 0
  const silicon = createHostSilicon({
    memory, model, seed: 1, map: pcMemoryMap(ram), reserve: true,
    processors: () => processors.seats.map(({ processor }) => processor), charge: (time) => { charged += time },
  })
  const processors: Processors = createProcessors({
    seats: [], memory, count: 2, engine: 'interp', model, extensions: silicon.extensions, holeStart: lowMemory(ram),
    now: () => 0, interrupted: () => false, random64: createRandom(1, 'processors').next64, picAcknowledge: () => -1,
    eoiBroadcast: none, onChange: none,
  })
  silicon.start()
  const clock = createVirtualClock()
  const mailbox = createPspMailbox({ clock, firmware: silicon.psp, interrupt: none })
  const write = (register: number, value: number): void => { mailbox.handlers.write(register, 4, value) }
  const give = (id: number, buffer: number): number => {
    write(PspRegister.SEV_BUFFER_LOW, buffer >>> 0)
    write(PspRegister.SEV_BUFFER_HIGH, Math.floor(buffer / 2 ** 32))
    write(PspRegister.SEV_COMMAND, id * 2 ** 16)
    clock.advanceTo(clock.now() + COST.pspCommand)
    return PspMailboxResponse.get(mailbox.handlers.read(PspRegister.SEV_COMMAND, 4), 'status')
  }
  return { memory, silicon, processors, mailbox, clock, give, charged: () => charged }
}

describe('what a BIOS keeps for the reverse map', () => {
  it('is at the end of RAM, whole 2 MiB, and covers all of it', () => {
    fc.assert(fc.property(fc.integer({ min: 16 * MiB / 4096, max: 2 ** 40 / 4096 }), (pages) => {
      const plain = pcMemoryMap(pages * 4096)
      const { map, rmp } = reserveRmp(plain) ?? { map: [], rmp: { base: 1, bytes: 0 } }
      const ramEnd =
        Math.max(...plain.filter(({ type }) => type === E820Type.RAM).map(({ start, length }) => start + length))
      expect([rmp.base % (2 * MiB), rmp.bytes % (2 * MiB)]).toEqual([0, 0])
      expect(ramEnd / 4096 * 16 + 0x4000).toBeLessThanOrEqual(rmp.bytes)
      expect(map.find(({ start }) => start === rmp.base)?.type).toBe(E820Type.RESERVED)
      const sum = (regions: typeof map): number => regions.reduce((all, { length }) => all + length, 0)
      expect(sum(map)).toBe(sum(plain))
    }))
  })

  it('is programmed on every processor, with memory encryption on and SNP off', () => {
    const { processors, silicon } = createBox()
    for (const { processor: { cpu } } of processors.seats) {
      const { held } = systemOf(cpu)
      expect([held.get(Msr.AMD_RMP_BASE), held.get(Msr.AMD_RMP_END)]).toEqual([62n * 2n ** 20n, 64n * 2n ** 20n - 1n])
      const value = held.get(Msr.AMD_SYSCFG) ?? 0n
      expect([value & SysCfg.mask.MemEncryptionModeEn, value & SysCfg.mask.SecureNestedPagingEn])
        .toEqual([SysCfg.mask.MemEncryptionModeEn, 0n])
    }
    expect(silicon.map.at(-1)?.type).toBe(E820Type.RESERVED)
  })
})

describe('the firmware behind the mailbox', () => {
  it('refuses to initialise SNP: there is no IOMMU', () => {
    const { give, processors } = createBox()
    for (const { processor: { cpu } } of processors.seats) {
      const { msrs, held } = systemOf(cpu)
      const on = SysCfg.mask.MtrrFixDramModEn | SysCfg.mask.SecureNestedPagingEn | SysCfg.mask.VMPLEn
      msrs.get(Msr.AMD_SYSCFG)?.write(cpu, (held.get(Msr.AMD_SYSCFG) ?? 0n) | on)
    }
    expect(give(PspCommand.SNP_INIT, 0)).toBe(PspStatus.INVALID_CONFIG)
  })

  it('writes its answer where the buffer says, and nowhere when that is no memory', () => {
    const { give, memory } = createBox()
    memory.write(0x1000, SnpAddress.create({ address: 0x2000n }))
    expect(give(PspCommand.SNP_PLATFORM_STATUS, 0x1000)).toBe(PspStatus.SUCCESS)
    const version = new Uint8Array(2)
    memory.read(0x2000, version)
    expect([...version]).toEqual([1, 55])
    for (const buffer of [0x1001, 64 * MiB, 2 ** 52, 2 ** 63, 2 ** 64 - 2 ** 11]) {
      expect(give(PspCommand.SNP_PLATFORM_STATUS, buffer)).toBe(PspStatus.INVALID_ADDRESS)
    }
  })

  it('answers every command with every buffer, whatever is in it', () => {
    const box = createBox(16 * MiB)
    const word =
      fc.oneof(fc.constant(0n), fc.bigInt(0n, 64n), fc.bigInt(0n, 16n * 2n ** 20n), fc.bigInt(0n, 2n ** 64n - 1n))
    const buffer = fc.oneof(
      fc.constant(0x1000), fc.nat(16 * MiB), fc.nat(2 * MiB).map((n) => n * 8),
      fc.nat(2 ** 31 - 1).map((n) => n * 2 ** 33),
    )
    const id = fc.oneof(fc.constantFrom(...Object.values(PspCommand)), fc.nat(0x7ff))
    fc.assert(fc.property(id, buffer, fc.array(word, { minLength: 8, maxLength: 8 }), (command, address, words) => {
      box.memory.write(0x1000, new Uint8Array(BigUint64Array.from(words).buffer))
      const status = box.give(command, address)
      expect(Object.values<number>(PspStatus)).toContain(status)
    }), { numRuns: 500 })
  })
})

describe('devices of a host that encrypts its memory', () => {
  it('read and write under its key where an address has the C-bit', () => {
    const { memory, silicon } = createBox(16 * MiB)
    const dma = createDma(memory, silicon.dma)
    const encrypted = 0x3000 + 2 ** silicon.dma.bit
    const seen = (address: number): number[] => {
      const bytes = new Uint8Array(4)
      expect(dma.read(address, bytes)).toBe(true)
      return [...bytes]
    }
    expect(dma.write(encrypted, Uint8Array.of(1, 2, 3, 4))).toBe(true)
    expect(seen(encrypted)).toEqual([1, 2, 3, 4])
    expect(seen(0x3000)).not.toEqual([1, 2, 3, 4])
    expect([dma.write(encrypted + 16 * MiB, Uint8Array.of(1)), dma.write(2 * encrypted, Uint8Array.of(1))])
      .toEqual([false, false])
    expect(createDma(memory).write(encrypted, Uint8Array.of(1))).toBe(false)
  })
})

describe('a machine with a PSP', () => {
  const options = (more: Partial<MachineOptions>): MachineOptions => ({
    kernel: { name: 'none', bytes: new Uint8Array(0) }, append: '', memory: 64 * MiB, vcpus: 1, seed: 1,
    engine: 'interp', cpu: 'amd', devices: [{ kind: 'psp' }], ...more,
  })
  const two: readonly DeviceOption[] = [{ kind: 'psp' }, { kind: 'psp' }]
  it.each<[string, Partial<MachineOptions>, RegExp]>([
    ['processors by Intel', { cpu: 'intel' }, /^devices: psp: a machine with intel processors; expected amd$/],
    ['another one', { devices: two }, /^devices: psp: two; expected one$/],
    ['a guest of the reference host in it', { cc: 'snp' }, /^devices: psp: an SNP guest has none/],
  ])('has no %s', (_, more, message) => {
    expect(() => createMachine(options(more))).toThrow(message)
  })
})
