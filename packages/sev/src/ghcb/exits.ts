/**
 * Exits of the GHCB page protocol: their names and the fields that a guest has to make valid for each (AMD 56421 §4.1,
 * table 6).
 */
import { ApCreationRequest, GHCB_USAGE_STANDARD, GhcbError, IoioInfo, SvmExit, VmgExit } from '@cofferdam/spec'
import type { GhcbField, GhcbPage } from './page.ts'

/** An exit that guests may ask for. */
export interface GhcbExit {
  readonly code: number
  /** As the document names it. */
  readonly name: string
  /** Fields that have to be valid besides SW_EXITCODE, SW_EXITINFO1 and SW_EXITINFO2. */
  inputs(page: GhcbPage): readonly GhcbField[]
}

const exit = (code: number, name: string, inputs: GhcbExit['inputs'] | readonly GhcbField[] = []): GhcbExit =>
  ({ code, name, inputs: typeof inputs === 'function' ? inputs : () => inputs })

/** String I/O goes through the scratch area, an OUT gives RAX. */
function ioioInputs(page: GhcbPage): readonly GhcbField[] {
  const info = Number(page.peek('swExitInfo1') & 0xffff_ffffn)
  if (IoioInfo.get(info, 'STR') !== 0) return ['swScratch']
  return IoioInfo.get(info, 'IN') !== 0 ? [] : ['rax']
}

const cpuidInputs = (page: GhcbPage): readonly GhcbField[] =>
  ((page.peek('rax') & 0xffff_ffffn) === 0xdn ? ['rax', 'rcx', 'xcr0'] : ['rax', 'rcx'])

const apCreationInputs = (page: GhcbPage): readonly GhcbField[] =>
  ((page.peek('swExitInfo1') & 0xffffn) === BigInt(ApCreationRequest.DESTROY) ? [] : ['rax'])

/** All exits by code; the table is the index of the protocol. */
export const GHCB_EXITS: ReadonlyMap<number, GhcbExit> = new Map([
  exit(SvmExit.DR0_READ + 7, 'DR7 read'),
  exit(SvmExit.DR0_WRITE + 7, 'DR7 write', ['rax']),
  exit(SvmExit.RDTSC, 'RDTSC'),
  exit(SvmExit.RDPMC, 'RDPMC', ['rcx']),
  exit(SvmExit.CPUID, 'CPUID', cpuidInputs),
  exit(SvmExit.INVD, 'INVD'),
  exit(SvmExit.IOIO, 'IOIO', ioioInputs),
  exit(SvmExit.MSR, 'MSR', (page) => (page.peek('swExitInfo1') === 0n ? ['rcx'] : ['rcx', 'rax', 'rdx'])),
  exit(SvmExit.VMMCALL, 'VMMCALL', ['rax', 'cpl']),
  exit(SvmExit.RDTSCP, 'RDTSCP'),
  exit(SvmExit.WBINVD, 'WBINVD'),
  exit(SvmExit.MONITOR, 'MONITOR', ['rax', 'rcx', 'rdx']),
  exit(SvmExit.MWAIT, 'MWAIT', ['rax', 'rcx']),
  exit(VmgExit.MMIO_READ, 'MMIO read', ['swScratch']),
  exit(VmgExit.MMIO_WRITE, 'MMIO write', ['swScratch']),
  exit(VmgExit.NMI_COMPLETE, 'NMI complete'),
  exit(VmgExit.AP_RESET_HOLD, 'AP reset hold'),
  exit(VmgExit.AP_JUMP_TABLE, 'AP jump table'),
  exit(VmgExit.PAGE_STATE_CHANGE, 'SNP page state change', ['swScratch']),
  exit(VmgExit.GUEST_REQUEST, 'SNP guest request'),
  exit(VmgExit.EXT_GUEST_REQUEST, 'SNP extended guest request', ['rax', 'rbx']),
  exit(VmgExit.AP_CREATION, 'SNP AP creation', apCreationInputs),
  exit(VmgExit.HV_DOORBELL, '#HV doorbell page'),
  exit(VmgExit.HV_IPI, '#HV IPI'),
  exit(VmgExit.HV_TIMER, '#HV timer'),
  exit(VmgExit.APIC_ID_LIST, 'APIC id list', ['rax']),
  exit(VmgExit.SNP_RUN_VMPL, 'SNP run VMPL'),
  exit(VmgExit.SECURE_AVIC, 'secure AVIC', ['rax']),
  exit(VmgExit.HV_FEATURES, 'hypervisor feature support'),
  exit(VmgExit.TERMINATION, 'termination request'),
  exit(VmgExit.UNSUPPORTED_EVENT, 'unsupported non-automatic event'),
].map((e) => [e.code, e]))

/** General registers of the page. */
const REGISTERS: readonly GhcbField[] = [
  'rsp', 'rax', 'rcx', 'rdx', 'rbx', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15', 'rip',
]
const NONE: readonly string[] = []

/** Bits of RAX that an OUT has use for. */
function outMask(page: GhcbPage): bigint {
  const { SZ8, SZ16 } = IoioInfo.mask
  const info = Number(page.peek('swExitInfo1') & 0xffff_ffffn)
  return (info & SZ8) !== 0 ? 0xffn : (info & SZ16) !== 0 ? 0xffffn : 0xffff_ffffn
}

/**
 * What a sound request shows the host without need: registers that are valid, not zero, and no input of the exit; or
 * bits of RAX beyond the size of an OUT. Hypercalls (VMMCALL) may take any register.
 */
export function ghcbExposed(page: GhcbPage): readonly string[] {
  const code = Number(page.peek('swExitCode'))
  const found = GHCB_EXITS.get(code)
  if (found === undefined || code === SvmExit.VMMCALL) return NONE
  let inputs: readonly GhcbField[] | undefined
  let exposed: string[] | undefined
  for (const field of REGISTERS) {
    if (!page.holds(field)) continue
    inputs ??= found.inputs(page)
    const needed = inputs.includes(field)
    if (needed && (code !== SvmExit.IOIO || (page.peek(field) & ~outMask(page)) === 0n)) continue
    const name = field.toUpperCase()
    exposed ??= []
    exposed.push(needed ? `bits of ${name} beyond the port's size` : name)
  }
  return exposed ?? NONE
}

/** Fields that every request has. */
const ALWAYS: readonly GhcbField[] = ['swExitCode', 'swExitInfo1', 'swExitInfo2']

/** What is wrong with a request before anybody looks at what it asks; a code of `GhcbError`. */
export interface GhcbFlaw {
  readonly error: number
  readonly text: string
}

/**
 * Checks what every exit has to fulfil: the layout of the page, the fields of the exit. Versions above `maxVersion` are
 * refused, a usage that is not the standard one, codes without an exit, and inputs that are not valid. Version 0 is
 * what OVMF leaves in its pages (edk2 OvmfPkg/PlatformPei/AmdSev.c only clears them); hosts take it.
 */
export function ghcbFlaw(page: GhcbPage, maxVersion = 2): GhcbFlaw | null {
  if (page.usage !== GHCB_USAGE_STANDARD) {
    return { error: GhcbError.INVALID_USAGE, text: `usage 0x${page.usage.toString(16)} is not the standard layout` }
  }
  if (page.version > maxVersion) {
    return { error: GhcbError.INVALID_USAGE, text: `protocol version ${page.version} was not negotiated` }
  }
  const missing = ALWAYS.find((field) => !page.has(field))
  if (missing !== undefined) return { error: GhcbError.MISSING_INPUT, text: `${missing} is not valid` }
  const code = page.peek('swExitCode')
  const found = code <= 0xffff_ffffn ? GHCB_EXITS.get(Number(code)) : undefined
  if (found === undefined) return { error: GhcbError.INVALID_EVENT, text: `no exit has code 0x${code.toString(16)}` }
  const input = found.inputs(page).find((field) => !page.has(field))
  if (input === undefined) return null
  return { error: GhcbError.MISSING_INPUT, text: `${found.name}: ${input} is not valid` }
}
