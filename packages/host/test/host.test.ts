import { describe, expect, it } from 'vitest'
import { judgeRmp, rmpCoverage, rmpTableBytes } from '../src/index.ts'

const GiB = 2 ** 30
const MiB = 2 ** 20

describe('the reverse map\'s place', () => {
  it.each<[string, number, number]>([
    // 16 bytes for each 4 KiB page, 16 KiB before them, whole 2 MiB.
    ['1 GiB', GiB, 6 * MiB],
    ['2 GiB less 4 MiB', 2 * GiB - 4 * MiB, 8 * MiB],
    ['2 GiB', 2 * GiB, 10 * MiB],
    ['1 TiB', 1024 * GiB, 4 * GiB + 2 * MiB],
  ])('takes what %s of addresses need', (_, end, bytes) => {
    expect(rmpTableBytes(end)).toBe(bytes)
    expect(rmpCoverage(0x1_0000_0000, 0x1_0000_0000 + bytes)).toBeGreaterThanOrEqual(end)
  })

  it('covers ((end − base − 16 KiB) / 16) pages', () => {
    expect(rmpCoverage(0x20_0000, 0x40_0000)).toBe((2 * MiB - 0x4000) / 16 * 4096)
    expect(rmpCoverage(0x20_0000, 0x20_2000)).toBe(0)
  })

  it('is judged by whether all RAM has entries', () => {
    expect(judgeRmp(GiB, 10 * MiB, 2 * GiB)).toMatchObject({ covers: true })
    expect(judgeRmp(GiB, 8 * MiB, 2 * GiB)).toEqual({ covers: false, needed: 8 * MiB + 0x4000, got: 8 * MiB })
  })
})

