/** MSRs of the local APIC. Source: Intel SDM vol. 3A, §11.4.4, §11.5.4.1, §11.12 (tables 11-5, 11-6, 11-7). */
import type { ApicCore } from './types.ts'
import { readCommon, writeCommon } from './page.ts'
import {
  APIC, APIC_BASE, ESR, GP_FAULT, LVT_WRITABLE, MSR_APIC_BASE, MSR_TSC_DEADLINE, SVR, X2APIC_MSR,
} from './registers.ts'
import { resetApicState } from './state.ts'
import { deadlineOf, setDeadline } from './timer.ts'

type Fault = typeof GP_FAULT | undefined

const LOW = 0xffff_ffffn
/** x2APIC ICR bits 31:20, 17:16 and 13 are reserved; bit 12 is taken and ignored, as processors do. */
const ICR_RESERVED = 0xfff3_2000

function readBase(core: ApicCore): bigint {
  return BigInt(core.state.frame) << 12n | BigInt(core.state.base)
}

/** Table 11-5 and figure 11-27: which changes of EN and EXTD are legal. */
function isLegalTransition(from: number, to: number): boolean {
  const x2 = APIC_BASE.EXTD
  const both = APIC_BASE.EN | x2
  if ((to & both) === x2) return false
  if ((from & both) === both && (to & both) === APIC_BASE.EN) return false
  return !((from & both) === 0 && (to & both) === both)
}

function writeBase(core: ApicCore, value: bigint): Fault {
  const { state, options } = core
  const flags = Number(value & 0xfffn)
  const width = BigInt(options.physicalAddressBits ?? 46)
  if (value >> width !== 0n || (flags & ~(APIC_BASE.BSP | APIC_BASE.EXTD | APIC_BASE.EN)) !== 0) return GP_FAULT
  if (!isLegalTransition(state.base, flags)) return GP_FAULT
  const was = core.mode()
  state.base = flags
  state.frame = Number(value >> 12n)
  // §11.4.3 and §11.12.5.1: disabling loses the state.
  if (core.mode() === 'disabled' && was !== 'disabled') resetApicState(state)
  if (core.mode() === 'x2apic' && was !== 'x2apic') state.icrHigh = 0
  options.onBaseChange?.()
  core.changed()
  return undefined
}

/** Bits that an x2APIC register refuses, by offset; −1: not writable at all. */
function reservedBits(offset: number): number {
  if (offset >= APIC.LVT_TIMER && offset <= APIC.LVT_ERROR) {
    // Read-only fields (delivery status, remote IRR) may be written back.
    return ~(LVT_WRITABLE[(offset - APIC.LVT_TIMER) >> 4] | 0x5000) >>> 0
  }
  switch (offset) {
    case APIC.TPR: return 0xffff_ff00
    case APIC.EOI:
    case APIC.ESR: return 0xffff_ffff
    case APIC.SVR: return ~(SVR.VECTOR | SVR.ENABLED | SVR.FOCUS) >>> 0
    case APIC.INITIAL_COUNT: return 0
    case APIC.DIVIDE: return 0xffff_fff4
    default: return -1
  }
}

function readX2(core: ApicCore, offset: number): bigint | typeof GP_FAULT {
  const { state } = core
  if (offset === APIC.ICR) return BigInt(state.icrHigh) << 32n | BigInt(state.icr)
  if (offset === APIC.ID) return BigInt(core.id)
  const value = readCommon(core, offset)
  return value === undefined ? GP_FAULT : BigInt(value >>> 0)
}

function writeX2(core: ApicCore, offset: number, value: bigint): Fault {
  const { state } = core
  const low = Number(value & LOW)
  if (offset === APIC.ICR) {
    if ((low & ICR_RESERVED) !== 0) return GP_FAULT
    state.icr = low & ~(1 << 12)
    state.icrHigh = Number(value >> 32n)
    core.sendIcr()
    return undefined
  }
  if (value >> 32n !== 0n) return GP_FAULT
  if (offset === APIC.SELF_IPI) {
    if (low > 0xff) return GP_FAULT
    if (low < 16) core.raiseError(ESR.SEND_ILLEGAL)
    else core.request(low, false)
    return undefined
  }
  const reserved = reservedBits(offset)
  if (reserved < 0 || (low & reserved) !== 0) return GP_FAULT
  writeCommon(core, offset, low)
  return undefined
}

/** Reads an MSR of the local APIC; anything outside its numbers, or outside the mode, is a #GP. */
export function readApicMsr(core: ApicCore, index: number): bigint | typeof GP_FAULT {
  if (index === MSR_APIC_BASE) return readBase(core)
  if (index === MSR_TSC_DEADLINE) return deadlineOf(core.state.timer)
  if (index < X2APIC_MSR || index > X2APIC_MSR + 0xff || core.mode() !== 'x2apic') return GP_FAULT
  return readX2(core, (index - X2APIC_MSR) << 4)
}

/** Writes an MSR of the local APIC. */
export function writeApicMsr(core: ApicCore, index: number, value: bigint): Fault {
  if (index === MSR_APIC_BASE) return writeBase(core, value)
  if (index === MSR_TSC_DEADLINE) {
    const { now, tscOffset } = core.options
    const time = now()
    const tsc = BigInt.asUintN(64, BigInt(time) + (tscOffset?.() ?? 0n))
    setDeadline(core.state.timer, value, tsc, time)
    core.changed()
    return undefined
  }
  if (index < X2APIC_MSR || index > X2APIC_MSR + 0xff || core.mode() !== 'x2apic') return GP_FAULT
  return writeX2(core, (index - X2APIC_MSR) << 4, value)
}
