/** An SVSM between the host and an SNP guest, where options ask for one. */
import type { SnpLaunch } from '@cofferdam/boot'
import { COSTS } from '@cofferdam/host'
import type { Svm } from '@cofferdam/x86'
import { createSvsm, svsmImage } from '@cofferdam/svsm'
import type { SvsmFact, SvsmRange } from '@cofferdam/svsm'
import { MachineError, type SvsmOptions } from '../options.ts'
import type { SnpSilicon } from './silicon.ts'

export interface SvsmSeatOptions {
  readonly image: SnpLaunch
  readonly ram: readonly SvsmRange[]
  /** Undefined for a guest at VMPL0. */
  readonly svsm: SvsmOptions | undefined
  readonly apicIds: readonly number[]
  readonly silicon: SnpSilicon
  /** The running processor's instruction takes so many nanoseconds longer. */
  readonly charge: (nanoseconds: number) => void
  /** Takes facts about the guest's calls, with the guest physical address of the caller's VMSA. */
  readonly onFact: (cpu: number, vmsa: number, fact: SvsmFact) => void
}

/** What the host launches, the guest's memory, and who has VMPL0. @throws SvsmError, MachineError */
export function placeSvsm({ image, ram, svsm, apicIds, silicon, charge, onFact }: SvsmSeatOptions) {
  if (svsm === undefined) return { image, ram, svsm: undefined }
  if (image.callingArea === undefined) {
    throw new MachineError('svsm', 'calling area', 'the firmware leaves no page for it; boot the kernel directly')
  }
  const { vtpm } = svsm
  const { launch, region } = svsmImage({
    launch: image.launch, callingArea: image.callingArea, ram, vmpl: svsm.vmpl, apicIds, cBit: silicon.encryption.cBit,
  })
  return {
    image: { ...image, launch }, ram: [...ram, region],
    svsm: {
      program: createSvsm({
        base: region.start, onFact: (apicId, vmsa, fact) => { onFact(apicIds.indexOf(apicId), vmsa, fact) },
        ...(vtpm && {
          vtpm: {
            command(command) {
              charge(COSTS.vtpm)
              return vtpm.command(command)
            },
          },
        }),
      }),
      instructions: ({ processor }: Svm) => silicon.guestProgram(processor),
    },
  }
}
