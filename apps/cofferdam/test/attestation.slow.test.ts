/** Run by COFFERDAM_SLOW=1 vitest run apps/cofferdam/test/attestation.slow.test.ts (four boots of a kernel). */
import { expect, it } from 'vitest'
import { debianMissing } from './real.ts'
import { sevGuestProgram } from './sev-guest.ts'
import { describeUnless } from './unless.ts'

describeUnless(debianMissing, "keys of an SNP guest's /dev/sev-guest", () => {
  const ask = sevGuestProgram()

  it('are the same at every boot, and hang on the chip, and on the measurement if asked for', {
    timeout: 300_000,
  }, async () => {
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
