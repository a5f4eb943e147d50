/** OVMF's image packed as an IGVM file: the same pages in the same order. */
import { VMSA_GPA, writeIgvm, type IgvmDirective, type IgvmPageKind } from '@cofferdam/boot'
import { launchSteps, launchVmsas, parseOvmf, type KernelFiles } from '@cofferdam/sev'
import { SevFeatures, SnpPageType } from '@cofferdam/spec'

const PAGE = 4096
/** CPUID leaf 1 EAX of the guest's processors. */
const SIGNATURE = 0xa1_0f11

const KINDS: Readonly<Record<number, IgvmPageKind>> = {
  // Zero pages are normal ones without data.
  [SnpPageType.NORMAL]: 'normal', [SnpPageType.ZERO]: 'normal', [SnpPageType.SECRETS]: 'secrets',
  [SnpPageType.CPUID]: 'cpuid',
}

/** The file for so many processors; with a kernel, which it verifies. */
export function ovmfAsIgvm(image: Uint8Array, vcpus: number, kernel?: KernelFiles): Uint8Array {
  const ovmf = parseOvmf(image, 'OVMF')
  const options = { ovmf, vcpus, kernel, signature: SIGNATURE, features: SevFeatures.mask.SNPActive }
  const steps = [{ type: SnpPageType.NORMAL, gpa: ovmf.gpa, size: image.length, bytes: image }, ...launchSteps(options)]
  const pages = steps.flatMap(({ type, gpa, size, bytes }) => {
    const pageOf = (at: number): IgvmDirective =>
      ({ kind: 'page', gpa: gpa + at, length: PAGE, type: KINDS[type], bytes: bytes?.slice(at, at + PAGE) })
    return Array.from({ length: size / PAGE }, (_, i) => pageOf(i * PAGE))
  })
  const processors = launchVmsas(options).map((vmsa, vp): IgvmDirective => ({ kind: 'vp', gpa: VMSA_GPA, vp, vmsa }))
  return writeIgvm({ directives: [...pages, ...processors] })
}
