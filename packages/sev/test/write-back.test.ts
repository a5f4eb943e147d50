/** How caches are written back for the PSP: WBINVD, and the VMPAGE_FLUSH register. */
import { Msr } from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import { ASID, createSevBox, HOST } from './processor-box.ts'
import type { SevBox } from './processor-box.ts'

const WBINVD = '0f09'
const WBNOINVD = 'f30f09'
const INVD = '0f08'
const WRMSR = '0f30'
const GP = { vector: 13, error: 0n }

describe('WBINVD', () => {
  const build = () => {
    const heard: string[] = []
    const box = createSevBox('snp', 0n, {
      onWriteBack: ({ index }) => { heard.push(`processor ${index}`) },
      charge: (_processor, operation) => { heard.push(operation) },
    })
    return { box, heard }
  }

  it('is seen by the PSP, and takes its time', () => {
    const { box, heard } = build()
    expect(box.host(`${WBINVD} f4`)).toBeNull()
    expect(heard).toEqual(['processor 0', 'wbinvd'])
  })

  it('is the same when a host in TypeScript executes it', () => {
    const { box, heard } = build()
    box.silicon.wbinvd(box.processor)
    expect(heard).toEqual(['processor 0', 'wbinvd'])
  })

  it('is what INVD is while HWCR says so', () => {
    const { box, heard } = build()
    expect(box.host(`${INVD} f4`)).toBeNull()
    expect(heard).toEqual(['processor 0', 'wbinvd'])
    const hwcr = box.readMsr(Msr.AMD_HWCR)
    box.writeMsr(Msr.AMD_HWCR, BigInt(hwcr) & ~(1n << 4n))
    expect(box.host(`${INVD} f4`)).toBeNull()
    expect(heard.length).toBe(2)
  })

  it('without invalidation (WBNOINVD) is not what the PSP wants', () => {
    const { box, heard } = build()
    expect(box.host(`${WBNOINVD} f4`)).toBeNull()
    expect(heard).toEqual([])
  })
})

describe('VMPAGE_FLUSH', () => {
  const flush = (box: SevBox, value: bigint) => box.host(`${WRMSR} f4`, {
    rcx: BigInt(Msr.AMD_VM_PAGE_FLUSH), rax: value & 0xffff_ffffn, rdx: (value >> 32n) & 0xffff_ffffn,
  })
  const box = createSevBox()
  const address = BigInt(HOST.code)

  it('takes an address that the host has mapped, and the ASID of a guest with encryption', () => {
    expect(flush(box, address | BigInt(ASID))).toBeNull()
    expect(flush(box, address | 1006n)).toBeNull()
  })

  it.each([
    ['ASID 0, which is the host', 0n], ['an ASID without a key', 1007n],
    ['an address that is not canonical', 0x8000_0000_0000n | BigInt(ASID)],
  ])('refuses %s', (_, value) => {
    expect(flush(box, value > 0xfffn ? value : address | value)).toMatchObject(GP)
  })

  it('faults on an address that is not mapped, as a read does', () => {
    const away = 0x7000_0000_0000n
    expect(flush(box, away | BigInt(ASID))).toMatchObject({ vector: 14, error: 0n, cr2: away })
  })

  it('cannot be read', () => {
    expect(box.readMsr(Msr.AMD_VM_PAGE_FLUSH)).toBe('gp')
  })
})
