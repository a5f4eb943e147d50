/** The secrets page that a guest is launched with (AMD 56860 §8.18.2.5). */
import { SecretsPage } from '@cofferdam/spec'
import type { Firmware, GuestContext } from './types.ts'

/** Version of the layout: with the TSC factor and the mitigation vector. */
const VERSION = 4

/** FMS_INFO: stepping in 7:0, model in 15:8, family in 23:16, from CPUID leaf 1 EAX. */
export function familyModelStepping(signature: number): { family: number; model: number; stepping: number } {
  const base = (signature >>> 8) & 0xf
  return {
    family: base === 0xf ? base + ((signature >>> 20) & 0xff) : base,
    model: ((signature >>> 4) & 0xf) | ((signature >>> 12) & 0xf0), stepping: signature & 0xf,
  }
}

/** The page's bytes. */
export function secretsPage({ facts }: Firmware, guest: GuestContext): Uint8Array {
  const { family, model, stepping } = familyModelStepping(facts.signature)
  const [vmpck0, vmpck1, vmpck2, vmpck3] = guest.vmpck
  return SecretsPage.create({
    version: VERSION, flags: guest.imi ? 1 : 0, fms: stepping | (model << 8) | (family << 16), gosvw: guest.gosvw,
    vmpck0, vmpck1, vmpck2, vmpck3, tscFactor: facts.tscFactor, launchMitVector: guest.launchMitigations,
  })
}
