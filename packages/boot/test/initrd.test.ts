import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { BootError, checkInitrd } from '../src/index.ts'
import { syntheticCpio } from './images.ts'

const join = (...parts: (Uint8Array | number[])[]): Uint8Array => Uint8Array.from(parts.flatMap((p) => [...p]))

describe('an initrd', () => {
  it('is one cpio archive, several, padded ones, or compressed ones', () => {
    const cpio = syntheticCpio(1001)
    expect(checkInitrd(cpio)).toEqual(['cpio'])
    expect(checkInitrd(join(cpio, new Array<number>(512).fill(0), cpio))).toEqual(['cpio', 'cpio'])
    expect(checkInitrd(join(cpio, [0x1f, 0x8b, 8, 0]))).toEqual(['cpio', 'gzip'])
    expect(checkInitrd(Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0))).toEqual(['zstd'])
  })
  it.each<[string, Uint8Array, string]>([
    ['nothing', new Uint8Array(0), 'initrd: size: the file is empty'],
    ['zeroes', new Uint8Array(5000), 'all zeroes'],
    ['text', new TextEncoder().encode('hello'), 'begins with 0x68 0x65 0x6c 0x6c; expected a cpio archive'],
    ['the start of an archive', syntheticCpio(1000).subarray(0, 500), 'it is truncated'],
    ['an archive without its trailer', syntheticCpio(1000).subarray(0, 1116),
      'ends inside its header: the file is truncated'],
    ['rubbish after an archive', join(syntheticCpio(4), [1, 2, 3]),
      'neither cpio nor a compression after the first archive'],
    ['a size that is no number', syntheticCpio(100).map((b, i) => (i === 56 ? 0x7a : b)), 'no hexadecimal numbers'],
  ])('is refused when it is %s', (_name, bytes, message) => {
    let text = ''
    try { checkInitrd(bytes) } catch (e) {
      expect(e).toBeInstanceOf(BootError)
      text = (e as Error).message
    }
    expect(text).toContain(message)
  })
  it('that is damaged gives a BootError or passes, and nothing else', () => {
    const flip = fc.record({ at: fc.integer({ min: 0, max: 700 }), to: fc.integer({ min: 0, max: 255 }) })
    fc.assert(fc.property(fc.array(flip, { minLength: 1, maxLength: 5 }), fc.integer({ min: 0, max: 800 }),
      (flips, cut) => {
      const bytes = join(syntheticCpio(200), syntheticCpio(50))
      for (const f of flips) if (f.at < bytes.length) bytes[f.at] = f.to
      try { expect(checkInitrd(bytes.subarray(0,
        cut)).length).toBeGreaterThan(0) } catch (e) { expect(e).toBeInstanceOf(BootError) }
    }), { numRuns: 2000, seed: 2 })
  })
})
