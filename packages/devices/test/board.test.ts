import { createIoBus } from '@cofferdam/memory'
import { describe, expect, it } from 'vitest'
import {
  createAbsorber, createDebugConsole, createDebugExit, createPostPort, lowMemoryEnd, Q35_ABSENT, Q35_MMIO, Q35_PORTS,
} from '../src/index.ts'

describe('the map of a Q35 machine', () => {
  it('has no two claims on one port or address', () => {
    const ports = createIoBus(0x1_0000)
    for (const r of [...Object.values(Q35_PORTS), ...Q35_ABSENT]) {
      ports.attach({ name: r.about, ...r, handlers: createAbsorber() })
    }
    const memory = createIoBus(2 ** 46)
    for (const r of Object.values(Q35_MMIO)) memory.attach({ name: r.about, ...r, handlers: createAbsorber() })
    expect(ports.ranges().length).toBe(Object.keys(Q35_PORTS).length + Q35_ABSENT.length)
  })

  it('keeps low RAM clear of the PCI windows', () => {
    expect([lowMemoryEnd(2 ** 28), lowMemoryEnd(0xafff_f000), lowMemoryEnd(0xb000_0000), lowMemoryEnd(2 ** 40)])
      .toEqual([2 ** 28, 0xafff_f000, 2 ** 31, 2 ** 31])
  })
})

describe('debug ports', () => {
  it('debug exit: status is twice the value and one', () => {
    const got: number[] = []
    const port = createDebugExit({ onExit: (status) => got.push(status) })
    port.write(0, 4, 0)
    port.write(0, 1, 0x10)
    expect(got).toEqual([1, 33])
  })

  it('debug console: answers E9h and passes every byte', () => {
    const got: number[] = []
    const port = createDebugConsole({ onByte: (b) => got.push(b) })
    expect(port.read(0, 1)).toBe(0xe9)
    port.write(0, 1, 65)
    expect(got).toEqual([65])
  })

  it('POST port: keeps the last code', () => {
    const post = createPostPort()
    post.handlers.write(0, 1, 0x42)
    const copy = createPostPort()
    copy.restore(post.snapshot())
    expect(copy.handlers.read(0, 1)).toBe(0x42)
  })

  it('absorber: reads as its value at any width', () => {
    expect([1, 2, 4].map((size) => createAbsorber().read(0, size as 1 | 2 | 4))).toEqual([0xff, 0xffff, 0xffff_ffff])
    expect(createAbsorber(0).read(0, 2)).toBe(0)
  })
})
