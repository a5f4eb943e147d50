/** The launch digest of a guest that starts from an OVMF image, as hypervisors launch it. */
import { SnpPageType } from '@cofferdam/spec'
import { SevInputError } from '../error.ts'
import { createLaunchDigest } from './digest.ts'
import type { LaunchDigest, MeasuredPage } from './digest.ts'
import type { KernelFiles } from './hashes.ts'
import { kernelHashPage } from './hashes.ts'
import type { OvmfImage, OvmfSection } from './ovmf.ts'
import { OvmfSectionType } from './ovmf.ts'
import { RESET_VECTOR, initialVmsa } from './vmsa.ts'
import type { VmmType } from './vmsa.ts'

/** A launch to measure. */
export interface LaunchOptions {
  readonly ovmf: OvmfImage
  readonly vcpus: number
  /** CPUID leaf 1 EAX of the processors; `vmm` other than QEMU does not look at it. */
  readonly signature: number
  /** SEV_FEATURES of every VMSA. */
  readonly features: bigint
  readonly vmm?: VmmType
  /** Files whose hashes are part of the launch. */
  readonly kernel?: KernelFiles
  /** The digest after the image itself, computed before. */
  readonly ovmfDigest?: Uint8Array
  /** The image's name, for messages. */
  readonly name?: string
}

/** The digest of the image alone. */
export function ovmfDigest(ovmf: OvmfImage): Uint8Array {
  const digest = createLaunchDigest()
  digest.addNormal(BigInt(ovmf.gpa), ovmf.bytes)
  return digest.value
}

/** One step of a launch: pages of one type. */
export interface LaunchStep {
  readonly type: MeasuredPage['type']
  readonly gpa: number
  readonly size: number
  /** Contents of NORMAL pages. */
  readonly bytes?: Uint8Array
}

/**
 * The pages that follow the image, in the order in which the hypervisor launches them; what the host carries out is
 * what is measured.
 * @throws SevInputError when files are given that the image cannot check
 */
export function launchSteps({ ovmf, vmm = 'qemu', kernel, name = 'firmware' }: LaunchOptions): LaunchStep[] {
  const hashes = (section: OvmfSection): LaunchStep => {
    if (kernel === undefined) return { type: SnpPageType.ZERO, gpa: section.gpa, size: section.size }
    if (ovmf.hashTableGpa === null) throw new SevInputError(name, 'its GUID table', 'the place of kernel hashes')
    const bytes = new Uint8Array(section.size)
    bytes.set(kernelHashPage(kernel, ovmf.hashTableGpa))
    return { type: SnpPageType.NORMAL, gpa: section.gpa, size: section.size, bytes }
  }
  const memory = vmm === 'gce' ? SnpPageType.UNMEASURED : SnpPageType.ZERO
  const step = (section: OvmfSection): LaunchStep => {
    const { gpa, size } = section
    switch (section.type) {
      case OvmfSectionType.SECRETS: return { type: SnpPageType.SECRETS, gpa, size: 4096 }
      case OvmfSectionType.CPUID: return { type: SnpPageType.CPUID, gpa, size: 4096 }
      case OvmfSectionType.KERNEL_HASHES: return hashes(section)
      case OvmfSectionType.SVSM_CAA: return { type: SnpPageType.ZERO, gpa, size }
      default: return { type: memory, gpa, size }
    }
  }
  if (kernel !== undefined && !ovmf.sections.some(({ type }) => type === OvmfSectionType.KERNEL_HASHES)) {
    throw new SevInputError(name, 'its SEV metadata', 'a section for kernel hashes, since a kernel is given')
  }
  const steps = ovmf.sections.map(step)
  if (vmm !== 'ec2') return steps
  // EC2 launches the CPUID page last.
  const isCpuid = ({ type }: LaunchStep): boolean => type === SnpPageType.CPUID
  return [...steps.filter((s) => !isCpuid(s)), ...steps.filter(isCpuid)]
}

/** VMSA pages of the processors: the first starts at the reset vector, the others where the image says. */
export function launchVmsas({ ovmf, vcpus, signature, features, vmm = 'qemu', name }: LaunchOptions): Uint8Array[] {
  return Array.from({ length: vcpus }, (_, i) => {
    if (i > 0 && ovmf.resetEip === null) {
      const expected = 'an SEV-ES reset block, for more than one processor'
      throw new SevInputError(name ?? 'firmware', 'its GUID table', expected)
    }
    return initialVmsa({ vmm, eip: i === 0 ? RESET_VECTOR : ovmf.resetEip ?? 0, features, signature })
  })
}

/** Adds one step to a digest. */
export function addStep(digest: LaunchDigest, { type, gpa, size, bytes }: LaunchStep): void {
  if (bytes !== undefined) digest.addNormal(BigInt(gpa), bytes)
  else digest.addUnread(type, BigInt(gpa), size)
}

/** The digest of a whole launch, 48 bytes: image, sections in their order, VMSAs. */
export function snpLaunchDigest(options: LaunchOptions): Uint8Array {
  const digest = createLaunchDigest(options.ovmfDigest ?? ovmfDigest(options.ovmf))
  for (const step of launchSteps(options)) addStep(digest, step)
  for (const vmsa of launchVmsas(options)) digest.addVmsa(vmsa)
  return digest.value
}

/** One item of a launch: pages, or a VMSA. */
export interface LaunchItem {
  /** Shared pages are no part of a launch. */
  readonly type: 'normal' | 'zero' | 'unmeasured' | 'secrets' | 'cpuid' | 'vmsa' | 'shared'
  /** Guest physical address, and bytes: whole pages. */
  readonly start: number
  readonly length: number
  /** Contents; zeroes after their end. */
  readonly bytes?: Uint8Array
}

const ITEM_TYPES = {
  normal: SnpPageType.NORMAL, zero: SnpPageType.ZERO, unmeasured: SnpPageType.UNMEASURED, secrets: SnpPageType.SECRETS,
  cpuid: SnpPageType.CPUID, vmsa: SnpPageType.VMSA,
} as const

/** The digest of a launch of any kind, 48 bytes: its items one after the other, page by page. */
export function measureLaunch(items: readonly LaunchItem[]): Uint8Array {
  const digest = createLaunchDigest()
  for (const { type, start, length, bytes = new Uint8Array(0) } of items) {
    if (type === 'shared') continue
    for (let at = 0; at < length; at += 4096) {
      const page = new Uint8Array(4096)
      page.set(bytes.subarray(at, at + 4096))
      digest.add({ type: ITEM_TYPES[type], gpa: BigInt(start + at), bytes: page })
    }
  }
  return digest.value
}
