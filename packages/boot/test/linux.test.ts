import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { configureWalk, createWalkContext, createWalker, createWalkResult, WALK_OK } from '@cofferdam/paging'
import { BootParams, E820Entry, E820Type, SegmentDescriptor, SetupHeader } from '@cofferdam/spec'
import { BootError, loadLinux, PC, pcMemoryMap, ramBytes, type LinuxOptions } from '../src/index.ts'
import { guestMemory, readImage, realKernels, syntheticBzImage, syntheticCpio } from './images.ts'

const MIB = 2 ** 20
const GIB = 2 ** 30

function load(options: Partial<LinuxOptions> = {}) {
  const memory = guestMemory()
  const boot = loadLinux({ kernel: syntheticBzImage(), cmdline: 'console=ttyS0', memory: 128 * MIB, write: memory.write,
    ...options })
  return { memory, boot }
}

const messageOf = (action: () => unknown): string => {
  try { action() } catch (e) {
    expect(e).toBeInstanceOf(BootError)
    return (e as Error).message
  }
  return 'no error'
}

describe('the memory map', () => {
  it.each([128 * MIB, 2 * GIB, 0xb000_0000, 0xb000_1000, 4095 * MIB, 4097 * MIB, 3 * GIB + 2 * MIB + 4096, 1024 * GIB])(
    'of %d bytes has all of them but the hole below 1 MiB, in order, without overlap', (memory) => {
      const map = pcMemoryMap(memory)
      expect(ramBytes(map)).toBe(memory - (PC.highMemory - PC.ebda))
      map.reduce((end, r) => {
        expect(r.start).toBeGreaterThanOrEqual(end)
        return r.start + r.length
      }, 0)
      const low = map.filter((r) => r.type === E820Type.RAM && r.start < PC.fourGiB)
      expect(low.every((r) => r.start + r.length <= PC.ecam)).toBe(true)
    })
  it('refuses sizes that no machine has', () => {
    for (const bad of [0, -1, Number.NaN, 1.5 * 4096, 15 * MIB,
      2 ** 45]) expect(() => pcMemoryMap(bad)).toThrow(BootError)
  })
})

describe('loading Linux', () => {
  it('enters at 0x200 in long mode with flat segments, and RSI names boot_params', () => {
    const { memory, boot } = load()
    expect(boot.loadAddress).toBe(0x100_0000)
    expect(boot.state.rip).toBe(0x100_0200n)
    expect(boot.state.segments.cs).toMatchObject({ selector: 0x10, attributes: 0xa9b, limit: 0xffff_ffff, base: 0n })
    expect(boot.state.segments.ds).toMatchObject({ selector: 0x18, attributes: 0xc93 })
    const gdt = memory.read(Number(boot.state.gdtr.base), boot.state.gdtr.limit + 1)
    expect(gdt.getBigUint64(0x10, true)).toBe(0x00af_9b00_0000_ffffn)
    expect(gdt.getBigUint64(0x18, true)).toBe(0x00cf_9300_0000_ffffn)
    expect(SegmentDescriptor.get(gdt.getBigUint64(0x10, true), 'L')).toBe(1n)
    const params = memory.read(Number(boot.state.registers.rsi), 4096)
    const header = SetupHeader.read(params)
    expect(header).toMatchObject({ header: 0x5372_6448, typeOfLoader: 0xff, cmdLinePtr: 0x2_0000, ramdiskSize: 0 })
    expect(BootParams.get(params, 'e820Entries')).toBe(boot.map.length)
    expect(E820Entry.read(params, 0x2d0)).toEqual({ addr: 0n, size: 0x9_fc00n, type: 1 })
    expect(new TextDecoder().decode(new Uint8Array(memory.read(0x2_0000, 14).buffer))).toBe('console=ttyS0\0')
  })

  it('copies nothing into boot_params but the setup header', () => {
    const kernel = syntheticBzImage()
    kernel.fill(0xee, 0, 0x1f1)
    kernel.fill(0xee, 0x26c, 0x400)
    const { memory } = load({ kernel })
    const params = new Uint8Array(memory.read(0x7000, 4096).buffer)
    expect(params.subarray(0, 0x1e8).some((b) => b === 0xee)).toBe(false)
    expect(params.subarray(0x26c, 0x2d0).every((b) => b === 0)).toBe(true)
  })

  it('maps the low 4 GiB one to one', () => {
    const { memory, boot } = load()
    const port = {
      high: 0, refused: 0,
      load64(pa: number) { const v = memory.read(pa, 8); port.high = v.getInt32(4, true); return v.getInt32(0, true) },
      load32: () => 0,
      setBits: () => true,
    }
    const ctx = createWalkContext({ physicalBits: 40 })
    configureWalk(ctx, {
      cr0: Number(boot.state.cr0), cr3Low: Number(boot.state.cr3), cr3High: 0, cr4: Number(boot.state.cr4),
      efer: Number(boot.state.efer), ac: false, pkru: 0,
    })
    const out = createWalkResult()
    const walker = createWalker(port)
    for (const va of [0, 0x7000, 0x100_0000, 0x8000_0000, 0xffff_f000]) {
      walker.walk(ctx, va | 0, 0, 0, out)
      expect(out).toMatchObject({ status: WALK_OK, page: va })
    }
    walker.walk(ctx, 0, 1, 0, out)
    expect(out.status).not.toBe(WALK_OK)
  })

  it('puts the initrd as high as the kernel allows, on a page, away from everything else', () => {
    const initrd = syntheticCpio(3 * MIB + 5)
    const lowest = Math.floor((128 * MIB - initrd.length) / 4096) * 4096
    expect(load({ initrd }).boot.placed.find((p) => p.name === 'initrd')?.start).toBe(lowest)
    const high = load({ initrd, memory: 8 * GIB, kernel: syntheticBzImage({ initrdAddrMax: 0x37ff_ffff }) })
    const start = high.boot.placed.find((p) => p.name === 'initrd')?.start ?? 0
    expect(start + initrd.length).toBeLessThanOrEqual(0x3800_0000)
    expect(start).toBeGreaterThan(0x3700_0000)
  })

  it('moves a relocatable kernel that does not fit at its address, to its alignment', () => {
    const kernel = syntheticBzImage({ prefAddress: 0x4000_0000n })
    expect(load({ kernel }).boot.loadAddress).toBe(0x20_0000)
  })

  it('chains setup_data', () => {
    const { memory } = load({ setupData: [{ type: 9, data: Uint8Array.of(1, 2, 3) },
      { type: 7, data: new Uint8Array(40) }] })
    const first = Number(SetupHeader.get(memory.read(0x7000, 4096), 'setupData'))
    const head = memory.read(first, 19)
    expect(head.getUint32(8, true)).toBe(9)
    expect(head.getUint8(16)).toBe(1)
    const second = memory.read(Number(head.getBigUint64(0, true)), 16)
    expect([second.getBigUint64(0, true), second.getUint32(8, true), second.getUint32(12, true)]).toEqual([0n, 7, 40])
  })

  it.each<[string, Partial<LinuxOptions>, string]>([
    ['a kernel too big for the machine', { kernel: syntheticBzImage({ initSize: 512 * MIB }) },
      'init_size: the kernel needs 512 MiB to start, and the machine has 128 MiB'],
    ['a fixed kernel at an address that is not there', { kernel: syntheticBzImage({ relocatableKernel: 0,
      prefAddress: 0x4000_0000n }) }, 'at 0x40000000'],
    ['a 32-bit kernel', { kernel: syntheticBzImage({ xloadflags: 0 }) }, 'xloadflags: the kernel has no 64-bit entry'],
    ['a long command line', { cmdline: 'x'.repeat(2048) },
      'command line: length: 2048 bytes; this kernel takes 2047 (cmdline_size)'],
    ['a NUL in the command line', { cmdline: 'a\0b' }, 'command line: text: contains a NUL'],
    ['an initrd larger than memory', { initrd: syntheticCpio(200 * MIB) },
      'find no place beside the kernel below 0x8000000'],
    ['an initrd that initrd_addr_max forbids',
      { initrd: syntheticCpio(20 * MIB), kernel: syntheticBzImage({ initrdAddrMax: 0x10f_ffff }) },
      'find no place beside the kernel below 0x1100000'],
    ['too little memory', { memory: MIB }, 'memory: size: 1 MiB; expected 16 MiB'],
    ['setup_data too large', { setupData: [{ type: 1, data: new Uint8Array(MIB) }] }, 'setup_data: size'],
  ])('refuses %s', (_name, options, message) => {
    expect(messageOf(() => load(options))).toContain(message)
  })

  it('of a mutated image loads without overlap or gives a BootError', () => {
    const flip = fc.record({ at: fc.integer({ min: 0x1f1, max: 0x26c }), to: fc.integer({ min: 0, max: 255 }) })
    fc.assert(fc.property(fc.array(flip, { minLength: 1, maxLength: 3 }), fc.integer({ min: 4096, max: 40_000 }),
      (flips, pages) => {
      const kernel = syntheticBzImage()
      for (const f of flips) kernel[f.at] = f.to
      try {
        const { boot, memory } = load({ kernel, memory: pages * 4096, initrd: syntheticCpio(70_000) })
        const sorted = [...boot.placed].sort((a, b) => a.start - b.start)
        sorted.reduce((end, p) => { expect(p.start).toBeGreaterThanOrEqual(end); return p.start + p.length }, 0)
        for (const c of memory.chunks) expect(c.at + c.bytes.length).toBeLessThanOrEqual(pages * 4096)
      } catch (e) {
        if (!(e instanceof BootError)) throw e
      }
    }), { numRuns: 250, seed: 9 })
  }, 30_000)

  const kernels = realKernels()
  it.skipIf(kernels.length === 0)('takes the kernels of distributions (skipped when none is there)', () => {
    for (const { name, path } of kernels) {
      const { boot } = load({ kernel: readImage(path), memory: 256 * MIB, initrd: syntheticCpio(5 * MIB),
        names: { kernel: name } })
      expect(boot.loadAddress, name).toBe(0x100_0000)
    }
  })
})
