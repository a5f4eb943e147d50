import { SmbiosEntry } from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import { createSmbios } from '../src/index.ts'

const ADDRESS = 0xf_f000
const info = { manufacturer: 'Maker', product: 'Thing', version: '7', date: '01/02/2024', memory: 2 ** 40 }
const bytes = createSmbios(info, ADDRESS)

/** Walks the structures as a kernel does (SMBIOS 3.4, §6.1.3). */
function walk(): { type: number, length: number, strings: string[], body: DataView }[] {
  const entry = SmbiosEntry.read(new DataView(bytes.buffer))
  let at = Number(entry.tableAddress) - ADDRESS
  const end = at + entry.tableLength
  const found = []
  while (at < end) {
    const body = new DataView(bytes.buffer, at, bytes[at + 1])
    let stop = at + body.byteLength
    while (bytes[stop] !== 0 || bytes[stop + 1] !== 0) stop++
    const strings = new TextDecoder().decode(
      bytes.subarray(at + body.byteLength, stop)
    ).split('\0').filter((s) => s !== '')
    found.push({ type: body.getUint8(0), length: body.byteLength, strings, body })
    at = stop + 2
  }
  expect(at).toBe(end)
  return found
}

describe('SMBIOS', () => {
  it('has an entry point whose bytes add up to 0', () => {
    expect(new TextDecoder().decode(bytes.subarray(0, 5))).toBe('_SM3_')
    expect(bytes.subarray(0, SmbiosEntry.size).reduce((sum, b) => sum + b, 0) & 0xff).toBe(0)
  })

  it('lists firmware, system, chassis, memory and boot state, and ends with type 127', () => {
    expect(walk().map(({ type }) => type)).toEqual([0, 1, 3, 16, 17, 32, 127])
  })

  it('names no string that is not there', () => {
    expect(walk().filter(({ type }) => type < 2).map(({ strings }) => strings)).toEqual([
      ['Maker', '7', '01/02/2024'], ['Maker', 'Thing', '7'],
    ])
  })

  it('gives a size of 32 GiB and more in the extended field', () => {
    const device = walk().find(({ type }) => type === 17)?.body
    expect(device?.getUint16(12, true)).toBe(0x7fff)
    expect(device?.getUint32(28, true)).toBe(2 ** 20)
  })
})
