import { beforeEach, describe, expect, it } from 'vitest'
import {
  createMsiCapability, createMsixCapability, createPciFunction, messageOfMsi, type MsixCapability, type PciFunctionCore,
} from '../src/index.ts'

let sent: [number, number][]
const send = (address: number, data: number): void => { sent.push([address, data]) }
const create = (capability: ReturnType<typeof createMsiCapability> | MsixCapability): PciFunctionCore =>
  createPciFunction({ name: 'd', vendor: 1, device: 2, classCode: 0, capabilities: [capability] })
beforeEach(() => { sent = [] })

describe('MSI messages', () => {
  it('decode as the manual says', () => {
    expect(messageOfMsi(0xfee0_3000, 0x0041)).toEqual(
      { mode: 0, vector: 0x41, level: false, destination: 3, logical: false })
    expect(messageOfMsi(0xfeef_f00c, 0xc142)).toEqual(
      { mode: 1, vector: 0x42, level: true, destination: 0xff, logical: true })
    expect(messageOfMsi(0xfeef_f000, 0x0400)?.destination).toBe(0xffff_ffff)
    expect(messageOfMsi(0xfec0_0000, 0)).toBeUndefined()
    expect(messageOfMsi(0x1_fee0_0000, 0)).toBeUndefined()
  })
})

describe('MSI capability', () => {
  it('is in the list, 64-bit and maskable', () => {
    const f = create(createMsiCapability({ vectors: 4, send }))
    const at = f.readConfig(0x34, 1)
    expect([f.readConfig(6, 2) & 0x10, f.readConfig(at, 1), f.readConfig(at + 2, 2)]).toEqual([0x10, 5, 0x184])
  })

  it('sends the message with its number in the low bits, as far as software enabled numbers', () => {
    const msi = createMsiCapability({ vectors: 4, send })
    const f = create(msi)
    const at = f.readConfig(0x34, 1)
    f.writeConfig(4, 2, 4)
    msi.notify(1)
    f.writeConfig(at + 4, 4, 0xfee0_1000)
    f.writeConfig(at + 12, 2, 0x40)
    f.writeConfig(at + 2, 2, 0x0021)
    msi.notify(3)
    f.writeConfig(at + 2, 2, 0x0001)
    msi.notify(3)
    expect(sent).toEqual([[0xfee0_1000, 0x43], [0xfee0_1000, 0x40]])
  })

  it('holds a masked message as pending and sends it when unmasked', () => {
    const msi = createMsiCapability({ vectors: 2, send })
    const f = create(msi)
    const at = f.readConfig(0x34, 1)
    f.writeConfig(4, 2, 4)
    f.writeConfig(at + 4, 4, 0xfee0_0000)
    f.writeConfig(at + 2, 2, 0x0011)
    f.writeConfig(at + 16, 4, 2)
    msi.notify(1); msi.notify(1)
    expect([sent.length, f.readConfig(at + 20, 4)]).toEqual([0, 2])
    f.writeConfig(at + 16, 4, 0)
    expect([sent.length, f.readConfig(at + 20, 4)]).toEqual([1, 0])
  })
})

describe('MSI-X capability', () => {
  let msix: MsixCapability
  let f: PciFunctionCore
  const entry = (n: number, address: number, data: number, control: number): void => {
    [address, 0, data, control].forEach((word, i) => { msix.table.write(16 * n + 4 * i, 4, word) })
  }
  beforeEach(() => {
    msix = createMsixCapability({ vectors: 3, send, bar: 1, tableOffset: 0, pendingOffset: 0x800 })
    f = create(msix)
    f.writeConfig(4, 2, 4)
  })

  it('says its size and where table and pending bits are', () => {
    const at = f.readConfig(0x34, 1)
    expect([f.readConfig(at + 2, 2), f.readConfig(at + 4, 4), f.readConfig(at + 8, 4)]).toEqual([2, 1, 0x801])
  })

  it('starts with every entry masked, and sends what was pending when unmasked', () => {
    const at = f.readConfig(0x34, 1)
    f.writeConfig(at + 2, 2, 0x8000)
    expect(msix.table.read(12, 4)).toBe(1)
    msix.notify(2)
    expect([sent.length, msix.pending.read(0, 4)]).toEqual([0, 4])
    entry(2, 0xfee0_2000, 0x55, 0)
    expect([sent, msix.pending.read(0, 4)]).toEqual([[[0xfee0_2000, 0x55]], 0])
  })

  it('masks all by the function mask', () => {
    const at = f.readConfig(0x34, 1)
    f.writeConfig(at + 2, 2, 0xc000)
    entry(0, 0xfee0_0000, 0x50, 0)
    msix.notify(0)
    expect(sent).toEqual([])
    f.writeConfig(at + 2, 2, 0x8000)
    expect(sent.length).toBe(1)
  })

  it('sends nothing while the function may not master the bus, and nothing when disabled', () => {
    const at = f.readConfig(0x34, 1)
    entry(0, 0xfee0_0000, 0x50, 0)
    msix.notify(0)
    f.writeConfig(at + 2, 2, 0x8000)
    expect(sent).toEqual([])
    f.writeConfig(4, 2, 0)
    msix.notify(0)
    expect(sent).toEqual([])
    f.writeConfig(4, 2, 4)
    msix.notify(1)
    f.writeConfig(at + 2, 2, 0x8000)
    expect(sent.length).toBe(1)
  })

  it('has its table in the snapshot', () => {
    entry(1, 0xfee0_1000, 0x77, 1)
    const saved = JSON.parse(JSON.stringify(f.snapshot())) as ReturnType<PciFunctionCore['snapshot']>
    f.reset()
    expect(msix.table.read(24, 4)).toBe(0)
    f.restore(saved)
    expect(msix.table.read(24, 4)).toBe(0x77)
  })
})
