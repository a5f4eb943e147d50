import { beforeEach, describe, expect, it } from 'vitest'
import { createFwCfg, type DmaMemory, FW_CFG, type FwCfg, FwCfgError } from '../src/index.ts'

let ram: Uint8Array
let fw: FwCfg
let written: number
let vars: Uint8Array
const memory: DmaMemory = {
  read(address, target) {
    if (address + target.length > ram.length) return false
    target.set(ram.subarray(address, address + target.length))
    return true
  },
  write(address, bytes) {
    if (address + bytes.length > ram.length) return false
    ram.set(bytes, address)
    return true
  },
}
const text = (s: string): Uint8Array => Uint8Array.from(s, (c) => c.charCodeAt(0))
const select = (key: number): void => { fw.handlers.write(0, 2, key) }
const bytes = (n: number): number[] => Array.from({ length: n }, () => fw.handlers.read(1, 1))
const be32 = (v: number): number[] => [v >>> 24, v >>> 16 & 255, v >>> 8 & 255, v & 255]
const swap = (v: number): number => new DataView(Uint8Array.from(be32(v)).buffer).getUint32(0, true)
const dma = (control: number, length: number, address: number, descriptor = 0x100): number => {
  ram.set([...be32(control), ...be32(length), 0, 0, 0, 0, ...be32(address)], descriptor)
  fw.handlers.write(4, 4, 0)
  fw.handlers.write(8, 4, swap(descriptor))
  return ram[descriptor + 3]
}

beforeEach(() => {
  ram = new Uint8Array(0x4000)
  written = 0
  vars = new Uint8Array(4)
  fw = createFwCfg({
    memory,
    items: [[FW_CFG.CPUS, Uint8Array.of(4, 0)]],
    files: [{ name: 'etc/vars', data: vars, onWrite: () => { written += 1 } }, { name: 'etc/e820', data: text('abc') }],
  })
})

describe('fw_cfg', () => {
  it('signs itself and offers DMA', () => {
    select(FW_CFG.SIGNATURE)
    expect(bytes(4)).toEqual([...text('QEMU')])
    select(FW_CFG.ID)
    expect(bytes(1)).toEqual([3])
    expect([fw.handlers.read(4, 4), fw.handlers.read(8, 4)]).toEqual([0x554d_4551, 0x4746_4320])
  })

  it('gives items byte by byte, then zeros; unknown items are empty', () => {
    select(FW_CFG.CPUS)
    expect(bytes(4)).toEqual([4, 0, 0, 0])
    select(0x77)
    expect(bytes(2)).toEqual([0, 0])
  })

  it('lists files by name with size and number', () => {
    select(FW_CFG.DIRECTORY)
    const list = bytes(4 + 128)
    expect(list.slice(0, 12)).toEqual([0, 0, 0, 2, 0, 0, 0, 3, 0, 0x20, 0, 0])
    expect(list.slice(12, 21)).toEqual([...text('etc/e820'), 0])
    expect(list.slice(68, 76)).toEqual([0, 0, 0, 4, 0, 0x21, 0, 0])
    select(0x20)
    expect(bytes(3)).toEqual([...text('abc')])
  })

  it('reads by DMA with select, skip and zeros past the end, and clears the control word', () => {
    ram.fill(0xee)
    expect(dma(0x20 << 16 | 8 | 2, 5, 0x200)).toBe(0)
    expect([...ram.subarray(0x200, 0x206)]).toEqual([...text('abc'), 0, 0, 0xee])
    expect([...ram.subarray(0x100, 0x104)]).toEqual([0, 0, 0, 0])
    dma(0x20 << 16 | 8 | 4, 1, 0)
    expect(bytes(1)).toEqual([...text('b')])
  })

  it('writes only files that are writable, and no more than they hold', () => {
    ram.set([1, 2, 3, 4, 5], 0x200)
    expect(dma(0x21 << 16 | 8 | 16, 4, 0x200)).toBe(0)
    expect([[...vars], written]).toEqual([[1, 2, 3, 4], 1])
    expect(dma(0x21 << 16 | 8 | 16, 5, 0x200)).toBe(1)
    expect(dma(0x20 << 16 | 8 | 16, 1, 0x200)).toBe(1)
  })

  it('reports a transfer to where no memory is', () => {
    expect(dma(0x20 << 16 | 8 | 2, 0xffff_ffff, 0x3fff)).toBe(1)
  })

  it('gives no gigabytes of zeros, wherever there is memory for them', () => {
    const kept = memory.write
    const given: number[] = []
    memory.write = (address, part) => {
      given.push(part.length)
      return address + part.length > ram.length || kept(address, part)
    }
    try {
      expect(dma(0x20 << 16 | 8 | 2, 0xffff_ffff, 0x200)).toBe(1)
      expect(given).toEqual([4])
      expect(dma(0x20 << 16 | 8 | 2, 2 ** 20, 0x200)).toBe(0)
    } finally {
      memory.write = kept
    }
  })

  it('does without DMA when it has no memory', () => {
    fw = createFwCfg({})
    select(FW_CFG.ID)
    expect(bytes(1)).toEqual([1])
    expect(fw.handlers.read(4, 4)).toBe(0)
  })

  it('refuses names that the directory cannot hold', () => {
    for (const name of ['', 'x'.repeat(56), 'ä']) {
      expect(() => createFwCfg({ files: [{ name, data: vars }] })).toThrow(FwCfgError)
    }
    expect(() => createFwCfg({ files: [{ name: 'a', data: vars }, { name: 'a', data: vars }] })).toThrow('of its own')
  })

  it('goes on from a snapshot, written files included', () => {
    ram.set([9, 9, 9, 9], 0x200)
    dma(0x21 << 16 | 8 | 16, 4, 0x200)
    select(0x20)
    bytes(1)
    const saved = JSON.parse(JSON.stringify(fw.snapshot())) as ReturnType<FwCfg['snapshot']>
    vars.fill(0)
    select(0)
    fw.restore(saved)
    expect([bytes(1), [...vars]]).toEqual([[...text('b')], [9, 9, 9, 9]])
  })
})
