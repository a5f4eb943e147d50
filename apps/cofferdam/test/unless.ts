/** Tests of what this machine may lack. */
import { describe } from 'vitest'

/** A suite that is left out, with the reason in its name, where `missing` gives one. */
export function describeUnless(missing: string | undefined, title: string, body: () => void): void {
  describe.skipIf(missing !== undefined)(missing === undefined ? title : `${title} (${missing})`, body)
}
