/** Run by COFFERDAM_SLOW=1 vitest run apps/cofferdam/test/attestation.slow.test.ts (four boots of a kernel). */
import { describe, expect, it } from 'vitest'
import { debianMissing } from './real.ts'
import { sevGuestProgram } from './sev-guest.ts'

describe.skipIf(debianMissing !== undefined)(`keys of an SNP guest's /dev/sev-guest${debianMissing === undefined ? '' : ` (${debianMissing})`}`, () => {
  const ask = sevGuestProgram()

  it('are the same at every boot, and hang on the chip, and on the measurement where it was asked for', { timeout: 300_000 }, async () => {
    const first = await ask(1)
    const again = await ask(1)
    expect([again.measured, again.chip]).toEqual([first.measured, first.chip])
    const otherMeasurement = await ask(1, 'loglevel=3')
    expect(otherMeasurement.chip).toBe(first.chip)
    expect(otherMeasurement.measured).not.toBe(first.measured)
    const otherChip = await ask(2)
    expect(otherChip.chip).not.toBe(first.chip)
    expect(otherChip.measured).not.toBe(first.measured)
  })
})
