import { createImageSurvivor } from '../src/survive/machine/images.ts'
import { createQueueSurvivor } from '../src/survive/machine/queues.ts'
import { createRegisterSurvivor } from '../src/survive/machine/registers.ts'
import { createSnapshotSurvivor } from '../src/survive/machine/snapshots.ts'
import type { LateSurvivor, Survivor } from '../src/survive/processor.ts'
import { createSnpSurvivor } from '../src/survive/snp/guest.ts'
import { createPspSurvivor } from '../src/survive/snp/psp.ts'
import { describe, expect, it } from 'vitest'

/** `npm run fuzz -- survive` is the long run. */
const samples: Readonly<Record<string, readonly [create: () => Survivor | LateSurvivor, cases: number]>> = {
  'random accesses to every port, register and configuration space': [createRegisterSurvivor, 80],
  'virtqueues of random bytes': [createQueueSurvivor, 200],
  'damaged kernels, firmware, archives and programs': [createImageSurvivor, 1200],
  'damaged snapshots': [createSnapshotSurvivor, 150],
  'an SNP guest that asks its host and its SVSM for anything': [createSnpSurvivor, 40],
  'a host that asks the PSP for anything': [createPspSurvivor, 300],
}

describe('a machine survives', () => {
  it.each(Object.entries(samples))('%s', async (_what, [create, cases]) => {
    const survivor = create()
    const ends = new Set<string>()
    for (let number = 0; number < cases; number++) {
      const { problem, ended } = await survivor.run(20_261_121, number)
      expect([number, problem]).toEqual([number, null])
      ends.add(ended)
    }
    expect(ends.size).toBeGreaterThan(1)
  }, 120_000)
})
