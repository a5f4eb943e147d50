/** Messages between guest and firmware, which the host carries: it can keep them, and send them again. */
import { statusName } from '../../snp/firmware.ts'
import type { GuestRequestResult } from '../../ghcb/types.ts'
import { remembered, rememberedPage } from '../types.ts'
import type { Attack } from '../types.ts'

/** An answer of the firmware's that the guest has had already. */
export const replayResponse: Attack = {
  about: "answers a guest request with the firmware's answer to an earlier one",
  early: true,
  create({ due, did }) {
    let old: GuestRequestResult | undefined
    return {
      snapshot: () => ({ firmware: old?.firmware ?? 0, response: old?.response.slice() ?? null }),
      restore(saved) {
        const response = rememberedPage(saved, 'response')
        old = response && { firmware: remembered(saved, 'firmware', 0), response }
      },
      guestRequest(page, honest) {
        const { firmware, response } = honest(page)
        if (old === undefined || !due()) {
          old ??= { firmware, response: response.slice() }
          return { firmware, response }
        }
        did('answered a guest request with the answer to an earlier one')
        return old
      },
    }
  },
}

/** A message of the guest's that the firmware has had already: for a second answer under the same numbers. */
export const replayRequest: Attack = {
  about: 'gives the firmware an earlier guest request again',
  early: true,
  create({ due, did }) {
    let old: Uint8Array | undefined
    return {
      snapshot: () => ({ old: old?.slice() ?? null }),
      restore(saved) { old = rememberedPage(saved, 'old') },
      guestRequest(page, honest) {
        if (old !== undefined && due()) {
          const { firmware } = honest(old)
          did(`gave the firmware an earlier guest request again, which answered ${statusName(firmware)}`)
        }
        old ??= page.slice()
        return honest(page)
      },
    }
  },
}
