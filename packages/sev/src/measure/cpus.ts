/** Processors that launches are measured for: what CPUID leaf 1 EAX says (QEMU's models by name). */

/** Family, model and stepping as CPUID leaf 1 EAX holds them (APM vol. 3, appendix E). */
export function cpuSignature(family: number, model: number, stepping: number): number {
  const extended = family > 0xf ? family - 0xf : 0
  return (((extended & 0xff) << 20) | (((model >> 4) & 0xf) << 16) | (Math.min(family, 0xf) << 8) |
    ((model & 0xf) << 4) | (stepping & 0xf)) >>> 0
}

const naples = cpuSignature(23, 1, 2)
const rome = cpuSignature(23, 49, 0)
const milan = cpuSignature(25, 1, 1)
const genoa = cpuSignature(25, 17, 0)
const turin = cpuSignature(26, 0, 0)

/** Signatures by the names of QEMU's processor models. */
export const CPU_SIGNATURES: Readonly<Record<string, number>> = {
  'EPYC': naples, 'EPYC-v1': naples, 'EPYC-v2': naples, 'EPYC-IBPB': naples, 'EPYC-v3': naples, 'EPYC-v4': naples,
  'EPYC-Rome': rome, 'EPYC-Rome-v1': rome, 'EPYC-Rome-v2': rome, 'EPYC-Rome-v3': rome, 'EPYC-Rome-v4': rome,
  'EPYC-Milan': milan, 'EPYC-Milan-v1': milan, 'EPYC-Milan-v2': milan, 'EPYC-Genoa': genoa, 'EPYC-Genoa-v1': genoa,
  'EPYC-Turin': turin,
}
