import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { BootError, parseBzImage } from '../src/index.ts'
import { readImage, realKernels, syntheticBzImage } from './images.ts'

const messageOf = (action: () => unknown): string => {
  try { action() } catch (e) {
    expect(e).toBeInstanceOf(BootError)
    return (e as Error).message
  }
  return 'no error'
}

describe('a bzImage', () => {
  it('is taken apart', () => {
    const image = parseBzImage(syntheticBzImage())
    expect(image).toMatchObject({
      version: 0x20f, prefAddress: 0x100_0000, initSize: 0x80_0000, alignment: 0x20_0000, relocatable: true,
      entry64: 0x200,
      handover64: 0x210, aboveFourGiB: true, cmdlineSize: 2047, initrdAddrMax: 0x7fff_ffff,
      kernelVersion: '7.2.0-test (me) #1',
      payload: { offset: 0x400, length: 0x1000, format: 'zstd', unpackedSize: 0x40_0000 },
    })
    expect(image.kernel.length).toBe(0x4000)
    expect(image.headerBytes.length).toBe(0x26c - 0x1f1)
  })

  it.each<[string, Uint8Array, string]>([
    ['an empty file', new Uint8Array(0), 'kernel: size: the file is empty'],
    ['a short file', new Uint8Array(100), 'kernel: size: 100 bytes; a bzImage has at least 620 (its setup header)'],
    ['an ELF file', Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, ...new Array<number>(1000).fill(0)),
      'kernel: format: an ELF file; expected a Linux bzImage'],
    ['zeroes', new Uint8Array(5000), 'boot_flag (at 0x1fe): 0x0, expected 0xaa55'],
    ['no HdrS', syntheticBzImage({ header: 0 }), 'header (at 0x202): 0x0, expected "HdrS"'],
    ['an old protocol', syntheticBzImage({ version: 0x20a }), 'version: 0x20a, expected boot protocol 2.12'],
    ['an unknown protocol', syntheticBzImage({ version: 0x300 }), 'version: 0x300, expected a boot protocol 2.x'],
    ['a zImage', syntheticBzImage({ loadflags: 0 }), 'loadflags: 0x0, expected LOADED_HIGH'],
    ['an odd alignment', syntheticBzImage({ kernelAlignment: 0x3000 }),
      'kernel_alignment: 0x3000, expected a power of two'],
    ['a low preferred address', syntheticBzImage({ prefAddress: 0x1000n }),
      'pref_address: 0x1000, expected an address above 1 MiB'],
    ['no init_size', syntheticBzImage({ initSize: 0 }), 'init_size: 0x0'],
    ['no cmdline_size', syntheticBzImage({ cmdlineSize: 0 }), 'cmdline_size: 0x0'],
    ['setup without kernel', syntheticBzImage().subarray(0, 2048),
      'setup_sects: 3 sectors end at 0x800, the file at 0x800: it is truncated'],
    ['a cut kernel', syntheticBzImage().subarray(0, 0x3000),
      'syssize: 0x4000 bytes of kernel stated, 0x2800 in the file: it is truncated'],
    ['a payload outside', syntheticBzImage({ payloadLength: 0x7fff_0000 }), 'payload_offset, payload_length'],
    ['a tiny kernel', syntheticBzImage({ payloadLength: 0 }, 0x200), 'the 64-bit entry at 0x200 lies outside'],
    ['a payload larger than init_size', syntheticBzImage({ initSize: 0x1000 }),
      'unpacks to 0x400000 bytes by its last word, more than init_size 0x1000'],
    ['a jump to nowhere', syntheticBzImage({ jump: 0x10eb }), 'jump: the header would end at 0x212'],
  ])('is refused: %s', (_name, image, message) => {
    expect(messageOf(() => parseBzImage(image))).toContain(message)
  })

  it('never gives another error than BootError, whatever the bytes', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 2000 }), (bytes) => {
      try { parseBzImage(bytes) } catch (e) { expect(e).toBeInstanceOf(BootError) }
    }), { numRuns: 200, seed: 3 })
  })

  it('mutated, is refused with a BootError or taken with every offset inside the file', () => {
    const flip = fc.record({ at: fc.integer({ min: 0x1f0, max: 0x270 }), to: fc.integer({ min: 0, max: 255 }) })
    fc.assert(fc.property(fc.array(flip, { minLength: 1, maxLength: 4 }), fc.integer({ min: 0, max: 0x4800 }),
      (flips, cut) => {
      const bytes = syntheticBzImage()
      for (const f of flips) bytes[f.at] = f.to
      try {
        const image = parseBzImage(bytes.subarray(0, cut % 3 === 0 ? cut : bytes.length))
        expect(image.payload.offset + image.payload.length).toBeLessThanOrEqual(image.kernel.length)
        expect(image.kernel.length).toBeGreaterThan(0)
      } catch (e) { expect(e).toBeInstanceOf(BootError) }
    }), { numRuns: 3000, seed: 5 })
  })

  const kernels = realKernels()
  it.skipIf(kernels.length === 0)('of a distribution is understood (skipped when no kernel image is there)', () => {
    for (const { name, path } of kernels) {
      const image = parseBzImage(readImage(path), name)
      expect(image.version, name).toBeGreaterThanOrEqual(0x20f)
      expect(image.kernelVersion, name).toMatch(/^\d+\.\d+/)
      expect(image.payload.format, name).not.toBe('unknown')
      expect(image.entry64, name).toBe(0x200)
    }
  })
})
