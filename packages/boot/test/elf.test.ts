import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { HvmMemmapEntry, HvmModule, HvmStartInfo, MultibootInfo, MultibootMmapEntry,
  MultibootModule } from '@cofferdam/spec'
import { BootError, findMultibootHeader, kernelKind, loadKernel, parseElf, type LinuxOptions } from '../src/index.ts'
import { guestMemory, syntheticBzImage, syntheticElf, type ElfParts } from './images.ts'

const MIB = 2 ** 20
const code = Uint8Array.from({ length: 300 }, (_, i) => i & 0xff)

const PVH: ElfParts = {
  bits: 64, entry: 0x100_0000, segments: [{ physical: 0x100_0000, data: code, memorySize: 0x3000 },
    { physical: 0x200_0000, data: code }],
  note: { name: 'Xen', type: 18, data: Uint8Array.of(0x10, 0, 0, 1, 0, 0, 0, 0) },
}

/** A flat kernel with a Multiboot header at 16. */
function flatMultiboot(flags: number, fields: number[]): Uint8Array {
  const bytes = new Uint8Array(0x400).fill(0x90)
  const view = new DataView(bytes.buffer)
  ;[0x1bad_b002, flags, -(0x1bad_b002 + flags) >>> 0, ...fields].forEach((v, i) => { view.setUint32(16 + 4 * i, v >>> 0,
    true) })
  return bytes
}
const FLAT = flatMultiboot(0x1_0003, [0x10_0010, 0x10_0000, 0, 0x10_1000, 0x10_0040])

/** The header in the first segment of a 32-bit ELF file. */
function elfMultiboot(bits: 32 | 64 = 32): Uint8Array {
  return syntheticElf({ bits, entry: 0x10_0040, segments: [{ physical: 0x10_0000, data: flatMultiboot(3, []) }] })
}

function load(options: Partial<LinuxOptions>) {
  const memory = guestMemory()
  const boot = loadKernel({ kernel: new Uint8Array(0), cmdline: 'console=ttyS0', memory: 64 * MIB, write: memory.write,
    acpi: { apicIds: [0] }, ...options })
  return { memory, boot }
}

const messageOf = (action: () => unknown): string => {
  try { action() } catch (e) {
    expect(e).toBeInstanceOf(BootError)
    return (e as Error).message
  }
  return 'no error'
}

describe('an ELF file', () => {
  it('is taken apart in both classes', () => {
    for (const bits of [32, 64] as const) {
      const image = parseElf(syntheticElf({ ...PVH, bits }))
      expect(image).toMatchObject({ bits, entry: 0x100_0000n })
      expect(image.segments.map((s) => [s.physical, s.data.length, s.memorySize])).toEqual([[0x100_0000, 300, 0x3000],
        [0x200_0000, 300, 300]])
      expect(image.notes[0]).toMatchObject({ name: 'Xen', type: 18 })
    }
  })
  it('may have notes without number', () => {
    const data = new Uint8Array(12 * 300_000)
    const bytes = syntheticElf({ ...PVH, note: { name: 'Many', type: 1, data } })
    // The first note ends where others, without names and contents, begin.
    const first = new TextDecoder('latin1').decode(bytes).indexOf('Many\0')
    new DataView(bytes.buffer).setUint32(first - 8, 0, true)
    expect(parseElf(bytes).notes).toHaveLength(300_001)
  })
  const patched = (at: number, ...to: number[]): Uint8Array => {
    const bytes = syntheticElf(PVH)
    bytes.set(to, at)
    return bytes
  }
  it.each<[string, Uint8Array, string]>([
    ['only a magic', Uint8Array.of(0x7f, 0x45, 0x4c, 0x46), 'size: 4 bytes'],
    ['of class 3', patched(4, 3), 'e_ident, class: 3, expected 1 (32 bits) or 2'],
    ['big-endian', patched(5, 2), 'e_ident, data: 2'],
    ['for another machine', patched(18, 183), 'e_machine: 183, expected 3 (i386) or 62 (x86-64)'],
    ['an object file', patched(16, 1), 'e_type: 1'],
    ['without program headers', patched(56, 0), 'e_phnum'],
    ['with too many program headers', patched(56, 0, 1), 'e_phnum: 256'],
    ['with odd program headers', patched(54, 32), 'e_phentsize: 32, expected 56'],
    ['cut', syntheticElf(PVH).subarray(0, 400), 'p_offset, p_filesz: ends at'],
    ['cut in its headers', syntheticElf(PVH).subarray(0, 100), 'e_phoff'],
    ['with a segment smaller than its bytes', patched(64 + 40, 1, 0), 'p_filesz: 0x12c is more than p_memsz 0x1'],
    ['with overlapping segments', syntheticElf({ ...PVH,
      segments: [{ physical: 0x1000, data: code }, { physical: 0x1010, data: code }] }), 'lies inside'],
  ])('is refused: %s', (_name, image, message) => {
    expect(messageOf(() => parseElf(image))).toContain(message)
  })
})

describe('PVH', () => {
  it('enters in protected mode without paging, EBX naming hvm_start_info', () => {
    const initrd = new Uint8Array(5000).fill(7)
    const { boot, memory } = load({ kernel: syntheticElf(PVH), initrd })
    expect(boot).toMatchObject({ kind: 'pvh', rsdp: 0xe_0000 })
    expect(boot.state).toMatchObject({ rip: 0x100_0010n, cr0: 0x11n, cr3: 0n, efer: 0n })
    expect(boot.state.segments.cs).toMatchObject({ attributes: 0xc9b, limit: 0xffff_ffff, base: 0n })
    const info = HvmStartInfo.read(memory.read(Number(boot.state.registers.rbx), HvmStartInfo.size))
    expect(info).toMatchObject({ magic: 0x336e_c578, version: 1, nrModules: 1, rsdpPaddr: 0xe_0000n,
      memmapEntries: boot.map.length })
    expect(memory.text(Number(info.cmdlinePaddr))).toBe('console=ttyS0')
    const module = HvmModule.read(memory.read(Number(info.modlistPaddr), HvmModule.size))
    expect(module.size).toBe(5000n)
    expect(memory.read(Number(module.paddr), 1).getUint8(0)).toBe(7)
    expect(HvmMemmapEntry.read(memory.read(Number(info.memmapPaddr), HvmMemmapEntry.size))).toMatchObject({ addr: 0n,
      type: 1 })
  })
  it('zeroes memory that the file does not fill', () => {
    const { memory } = load({ kernel: syntheticElf(PVH) })
    expect(memory.chunks.some((c) => c.at === 0x100_0000 + 300 && c.bytes.length === 0x3000 - 300)).toBe(true)
  })
  it('is refused without its note, and where there is no memory', () => {
    expect(messageOf(() => load({ kernel: syntheticElf({ ...PVH, note: undefined }) }))).toContain('without PVH entry')
    const far = syntheticElf({ ...PVH, segments: [{ physical: 0x1000_0000, data: code }] })
    expect(messageOf(() => load({ kernel: far }))).toContain('has no free memory (64 MiB below 4 GiB)')
  })
})

describe('Multiboot', () => {
  it('loads a flat kernel by the addresses of its header', () => {
    const { boot, memory } = load({ kernel: FLAT, names: { kernel: 'test.flat' }, initrd: new Uint8Array(10).fill(1) })
    expect(boot.kind).toBe('multiboot')
    expect(boot.state).toMatchObject({ rip: 0x10_0040n, registers: { rax: 0x2bad_b002n } })
    expect(memory.read(0x10_0010, 4).getUint32(0, true)).toBe(0x1bad_b002)
    expect(boot.placed.find((p) => p.name === 'kernel')).toEqual({ name: 'kernel', start: 0x10_0000, length: 0x1000 })
    const info = MultibootInfo.read(memory.read(Number(boot.state.registers.rbx), MultibootInfo.size))
    expect(info).toMatchObject({ memLower: 640, memUpper: 63 * 1024, modsCount: 1 })
    expect(memory.text(info.cmdline)).toBe('test.flat console=ttyS0')
    expect(memory.text(info.bootLoaderName)).toBe('cofferdam')
    const module = MultibootModule.read(memory.read(info.modsAddr, MultibootModule.size))
    expect(new TextDecoder().decode(memory.read(module.string, 7))).toBe('initrd\0')
    expect([module.end - module.start, module.start % 4096]).toEqual([10, 0])
    const entry = MultibootMmapEntry.read(memory.read(info.mmapAddr, MultibootMmapEntry.size))
    expect(entry).toEqual({ size: 20, addr: 0n, length: 0x9_fc00n, type: 1 })
  })
  it('loads an ELF kernel by its segments', () => {
    const { boot } = load({ kernel: elfMultiboot() })
    expect(boot).toMatchObject({ kind: 'multiboot', state: { rip: 0x10_0040n } })
  })
  it.each<[string, Uint8Array, string]>([
    ['a 64-bit ELF file', elfMultiboot(64), 'Multiboot enters 32-bit ELF files'],
    ['flags that are not offered', flatMultiboot(0x1_0008, [0x10_0010, 0x10_0000, 0, 0, 0]), 'asks for 0x8'],
    ['no addresses and no ELF', flatMultiboot(3, []), 'no load addresses'],
    ['a load address above the header', flatMultiboot(0x1_0000, [0x10_0010, 0x10_0020, 0, 0, 0]),
      'load_addr: 0x100020 is above header_addr'],
    ['a load address before the file', flatMultiboot(0x1_0000, [0x10_0010, 0x0f_0000, 0, 0, 0]),
      'would begin before the file does'],
    ['an end before the start', flatMultiboot(0x1_0000, [0x10_0010, 0x10_0000, 0x10, 0, 0]), 'load_end_addr'],
    ['more than the file has', flatMultiboot(0x1_0000, [0x10_0010, 0x10_0000, 0x20_0000, 0, 0]),
      'the file is truncated'],
    ['an address without memory', flatMultiboot(0x1_0000, [0xf000_0010, 0xf000_0000, 0, 0, 0]), 'no free memory'],
  ])('is refused with %s', (_name, kernel, message) => {
    expect(messageOf(() => load({ kernel }))).toContain(message)
  })
  it('wants the right checksum', () => {
    const bytes = FLAT.slice()
    bytes[24] ^= 1
    expect(findMultibootHeader(bytes)).toBeUndefined()
  })
})

describe('segments of a kernel', () => {
  const low = (physical: number, memorySize: number) => ({ physical, data: code, memorySize })

  it('may lie apart, on both sides of the holes of a PC', () => {
    const { boot } = load({ kernel: syntheticElf({ ...PVH, segments: [low(0x4000, 0x200), low(0x80_0000, 0x1000)] }) })
    expect(boot.placed.filter(({ name }) => name === 'kernel').map(({ start }) => start)).toEqual([0x4000, 0x80_0000])
  })

  it('may lie where the loader would put its own: that goes elsewhere in low memory', () => {
    const { boot, memory } = load({ kernel: syntheticElf({ ...PVH, segments: [low(0x1000, 0x4_0000)] }) })
    const info = Number(boot.state.registers.rbx)
    expect(info).toBeGreaterThanOrEqual(0x4_1000)
    const { cmdlinePaddr } = HvmStartInfo.read(memory.read(info, HvmStartInfo.size))
    expect(Number(cmdlinePaddr)).toBeGreaterThanOrEqual(0x4_1000)
    expect(boot.state.gdtr.base).toBeGreaterThanOrEqual(0x4_1000n)
  })

  it('may not take all of low memory', () => {
    const kernel = syntheticElf({ ...PVH, segments: [low(0x1000, 0x9_ec00)] })
    expect(messageOf(() => load({ kernel }))).toContain('the segments leave no 24 bytes below 0x9fc00 for the GDT')
  })
})

describe('a kernel file', () => {
  it('is known by what it is', () => {
    expect(kernelKind(syntheticBzImage())).toBe('linux')
    expect(kernelKind(syntheticElf(PVH))).toBe('pvh')
    expect(kernelKind(FLAT)).toBe('multiboot')
    expect(kernelKind(elfMultiboot())).toBe('multiboot')
    expect(kernelKind(new Uint8Array(10))).toBeUndefined()
    expect(messageOf(() => load({ kernel: new Uint8Array(0) }))).toBe('kernel: size: the file is empty')
    expect(messageOf(() => load({ kernel: new Uint8Array(9) }))).toContain('9 bytes that are neither a Linux bzImage')
  })
  it('that is damaged gives a BootError or loads inside memory, and nothing else', () => {
    const images = [syntheticElf(PVH), syntheticElf({ ...PVH, bits: 32 }), elfMultiboot(), FLAT]
    const flip = fc.record({ at: fc.integer({ min: 0, max: 300 }), to: fc.integer({ min: 0, max: 255 }) })
    fc.assert(fc.property(fc.constantFrom(...images), fc.array(flip, { minLength: 1, maxLength: 3 }), fc.nat(2000),
      (image, flips, cut) => {
      const kernel = image.slice(0, cut > 1000 ? image.length : cut)
      for (const f of flips) if (f.at < kernel.length) kernel[f.at] = f.to
      try {
        const { memory } = load({ kernel })
        for (const c of memory.chunks) expect(c.at + c.bytes.length).toBeLessThanOrEqual(64 * MIB)
      } catch (e) {
        if (!(e instanceof BootError)) throw e
      }
    }), { numRuns: 800, seed: 4 })
  }, 30_000)
})
