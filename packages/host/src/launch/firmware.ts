/**
 * The launch of a guest that starts from OVMF's image, as VMMs do it: the image below 4 GiB as normal pages, then what
 * its SEV metadata ask for, then a VMSA for each processor (QEMU target/i386/sev.c; KVM, snp_launch_update_vmsa).
 */
import { VMSA_GPA, type SnpLaunch, type SnpLaunchPages, type SnpPageType as LaunchType } from '@cofferdam/boot'
import {
  launchSteps, launchVmsas, OvmfSectionType, parseOvmf, type KernelFiles, type LaunchStep, type OvmfImage,
} from '@cofferdam/sev'
import { SevFeatures, SnpPageType } from '@cofferdam/spec'
import { cpuidSignature } from '@cofferdam/x86'
import { guestModel } from '../cpu/model.ts'
import { HostError } from '../errors.ts'

/** A guest that begins in a flash image with SEV metadata (OVMF). */
export interface FirmwareLaunchOptions {
  readonly firmware: { readonly name: string, readonly bytes: Uint8Array }
  readonly vcpus: number
  /** What the firmware will be handed, for the table of hashes that images with a place for it verify it by. */
  readonly kernel?: KernelFiles
  /** Vmsa.sevFeatures of all processors beside SNPActive. */
  readonly features?: bigint
}

const PAGE = 4096
const TYPES: Readonly<Record<number, LaunchType>> = {
  [SnpPageType.NORMAL]: 'normal', [SnpPageType.ZERO]: 'zero', [SnpPageType.UNMEASURED]: 'unmeasured',
  [SnpPageType.SECRETS]: 'secrets', [SnpPageType.CPUID]: 'cpuid',
}

/** Whether an image has a place for the hashes of kernel, initrd and command line. */
const takesHashes = ({ hashTableGpa, sections }: OvmfImage): boolean =>
  hashTableGpa !== null && sections.some(({ type }) => type === OvmfSectionType.KERNEL_HASHES)

function pagesOf({ type, gpa, size, bytes }: LaunchStep): SnpLaunchPages {
  const known = TYPES[type]
  return { name: `firmware's ${known} pages`, start: gpa, length: size, type: known, bytes }
}

/**
 * The launch of an image.
 * @throws SevInputError for an image that contradicts itself, HostError for one that says nothing of SNP
 */
export function firmwareLaunch(
  { firmware: { name, bytes }, vcpus, kernel, features = 0n }: FirmwareLaunchOptions,
): SnpLaunch {
  const ovmf = parseOvmf(bytes, name)
  if (ovmf.sections.length === 0) {
    throw new HostError(name, 'SEV metadata', 'there are none; an SNP guest needs firmware that knows SEV-SNP')
  }
  const options = {
    ovmf, vcpus, name, features: features | SevFeatures.mask.SNPActive, signature: cpuidSignature(guestModel()),
    kernel: takesHashes(ovmf) ? kernel : undefined,
  }
  const callingArea = ovmf.sections.find(({ type }) => type === OvmfSectionType.SVSM_CAA)?.gpa
  return {
    ...(callingArea !== undefined && { callingArea }),
    launch: [
      { name: 'firmware', start: ovmf.gpa, length: bytes.length, type: 'normal', bytes },
      ...launchSteps(options).map(pagesOf),
      ...launchVmsas(options).map((vmsa, vp): SnpLaunchPages =>
        ({ name: `VMSA of processor ${vp}`, start: VMSA_GPA, length: PAGE, type: 'vmsa', bytes: vmsa, vp })),
    ],
  }
}
