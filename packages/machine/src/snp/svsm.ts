/** An SVSM between the host and an SNP guest, where options ask for one. */
import type { SnpLaunch } from '@cofferdam/boot'
import { COSTS } from '@cofferdam/host'
import type { Svm } from '@cofferdam/x86'
import { createSvsm, svsmImage } from '@cofferdam/svsm'
import type { SvsmFact, SvsmRange } from '@cofferdam/svsm'
import { MachineError, type SvsmOptions } from '../options.ts'
import type { SnpSilicon } from './silicon.ts'

export interface SvsmPlaceOptions {
  readonly image: SnpLaunch
  readonly ram: readonly SvsmRange[]
  readonly svsm: SvsmOptions | undefined
  readonly apicIds: readonly number[]
  readonly cBit: number
}

/**
 * What the host launches, the guest's memory, and where its SVSM lies; −1 for a guest at VMPL0.
 * @throws SvsmError, MachineError
 */
export function placeSvsm({ image, ram, svsm, apicIds, cBit }: SvsmPlaceOptions) {
  if (svsm === undefined) return { image, ram, base: -1 }
  if (image.callingArea === undefined) {
    throw new MachineError('svsm', 'calling area', 'the firmware leaves no page for it; boot the kernel directly')
  }
  const { launch, region } = svsmImage({
    launch: image.launch, callingArea: image.callingArea, ram, vmpl: svsm.vmpl, apicIds, cBit,
  })
  return { image: { ...image, launch }, ram: [...ram, region], base: region.start }
}

export interface SvsmSeatOptions {
  /** Where it lies. */
  readonly base: number
  readonly vtpm: SvsmOptions['vtpm'] | undefined
  readonly apicIds: readonly number[]
  readonly silicon: SnpSilicon
  /** The running processor's instruction takes so many nanoseconds longer. */
  readonly charge: (nanoseconds: number) => void
  /** Takes facts about the guest's calls, with the guest physical address of the caller's VMSA. */
  readonly onFact: (cpu: number, vmsa: number, fact: SvsmFact) => void
}

/** The program at VMPL0, and how it executes instructions on a processor. */
export function createSvsmSeat({ base, vtpm, apicIds, silicon, charge, onFact }: SvsmSeatOptions) {
  return {
    program: createSvsm({
      base, onFact: (apicId, vmsa, fact) => { onFact(apicIds.indexOf(apicId), vmsa, fact) },
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
  }
}
