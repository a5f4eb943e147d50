/**
 * Delivery through a long-mode gate (SDM vol. 3 §6.14, APM vol. 2 §8.9). This is the warm path of a kernel: words are
 * handled as Numbers, and the frame is built in one buffer and stored at once.
 */
import type { Cpu } from '../cpu.ts'
import { raise, VECTOR } from '../cpu.ts'
import { CPL, CS, GPR, IDTR, SEG, SEG_BASE, SEG_SIZE, SS, TR } from '../state.ts'
import { isCanonical, RSP, segAttributes, segSelector, stateSum } from './access.ts'
import { ATTR, FLAG, SYSTEM_TYPE } from './bits.ts'
import {
  createDescriptor, dplOf, isCode, isConforming, isNull, isPresent, markAccessed, readDescriptor, selectorError,
  setNullSegment, setSegmentFrom,
} from './descriptor.ts'
import type { EventSource } from './event.ts'
import { extOf, gateError, returnRip, savedFlags, SOFTWARE } from './event.ts'

const codeSegment = createDescriptor()

/** The frame, lowest address first: [error code] RIP CS RFLAGS RSP SS (SDM vol. 3 figure 6-9). */
const frame64 = new BigUint64Array(6)
const frame32 = new Uint32Array(frame64.buffer)
const frameBytes = new Uint8Array(frame64.buffer)
const frameWithoutCode = frameBytes.subarray(8)

const split64 = new BigUint64Array(2)
const split32 = new Uint32Array(split64.buffer)

/** Bytes of a 64-bit TSS up to RSP0, and up to IST1 (SDM vol. 3 figure 8-11). */
const TSS_RSP0 = 4
const TSS_IST1 = 0x24

/** Reads RSPn or ISTn from the TSS. */
function tssStack(cpu: Cpu, offset: number, ext: number): bigint {
  const tr = SEG + TR * SEG_SIZE
  if (offset + 7 > cpu.views.u32[(tr >>> 2) + 1]) raise(VECTOR.TS, selectorError(segSelector(cpu, TR), ext))
  const rsp = cpu.loadSystem64(stateSum(cpu, tr + SEG_BASE, offset))
  if (!isCanonical(cpu, rsp)) raise(VECTOR.SS, ext)
  return rsp
}

/** Checks the code segment of a gate and leaves its descriptor in `codeSegment`. */
function readHandlerSegment(cpu: Cpu, selector: number, level: number, ext: number): void {
  if (isNull(selector)) raise(VECTOR.GP, ext)
  const error = selectorError(selector, ext)
  if (!readDescriptor(cpu, selector, codeSegment)) raise(VECTOR.GP, error)
  const { attributes } = codeSegment
  if (!isCode(attributes) || dplOf(attributes) > level) raise(VECTOR.GP, error)
  if (!isPresent(attributes)) raise(VECTOR.NP, error)
  if ((attributes & (ATTR.L | ATTR.DB)) !== ATTR.L) raise(VECTOR.GP, error)
}

/** Enters a handler in long mode. */
export function enterLong(cpu: Cpu, vector: number, errorCode: number, source: EventSource): void {
  const { u32, u64 } = cpu.views
  const ext = extOf(source)
  const level = u32[CPL >>> 2]
  if (vector * 16 + 15 > u32[IDTR >>> 2]) raise(VECTOR.GP, gateError(vector, source))
  split64[0] = cpu.loadSystem64(stateSum(cpu, IDTR + 8, vector * 16))
  const w0 = split32[0]
  const w1 = split32[1]
  const type = (w1 >>> 8) & 0x1f
  if (type !== SYSTEM_TYPE.INTERRUPT_GATE && type !== SYSTEM_TYPE.TRAP_GATE) {
    raise(VECTOR.GP, gateError(vector, source))
  }
  if (source === SOFTWARE && ((w1 >>> 13) & 3) < level) raise(VECTOR.GP, gateError(vector, source))
  if ((w1 & 0x8000) === 0) raise(VECTOR.NP, gateError(vector, source))
  const w2 = cpu.loadSystem(stateSum(cpu, IDTR + 8, vector * 16 + 8), 4)

  const selector = w0 >>> 16
  readHandlerSegment(cpu, selector, level, ext)
  const newLevel = isConforming(codeSegment.attributes) ? level : dplOf(codeSegment.attributes)
  const ist = w1 & 7

  const oldRsp = u64[(GPR >>> 3) + RSP]
  let rsp = oldRsp
  if (ist !== 0) rsp = tssStack(cpu, TSS_IST1 + (ist - 1) * 8, ext)
  else if (newLevel !== level) rsp = tssStack(cpu, TSS_RSP0 + newLevel * 8, ext)
  else if (!isCanonical(cpu, rsp)) raise(VECTOR.SS, ext)

  split32[2] = (w0 & 0xffff) | (w1 & 0xffff_0000)
  split32[3] = w2
  const entry = split64[1]
  if (!isCanonical(cpu, entry)) raise(VECTOR.GP, ext)
  markAccessed(cpu, codeSegment)
  rsp = pushFrame(cpu, rsp, oldRsp, savedFlags(cpu, vector, source), returnRip(cpu, source), errorCode, newLevel)

  // Nothing faults from here on.
  u64[(GPR >>> 3) + RSP] = rsp
  const modeChanges = newLevel !== level || segAttributes(cpu, CS) !== codeSegment.attributes
  setSegmentFrom(cpu, CS, (selector & 0xfffc) | newLevel, codeSegment)
  if (newLevel !== level) {
    u32[CPL >>> 2] = newLevel
    setNullSegment(cpu, SS, newLevel, newLevel << ATTR.DPL_SHIFT)
  }
  const clears = FLAG.TF | FLAG.NT | FLAG.RF | FLAG.VM
  cpu.setFlags(0, type === SYSTEM_TYPE.INTERRUPT_GATE ? clears | FLAG.IF : clears)
  if (modeChanges) cpu.modeChanged()
  cpu.setNextRip(entry)
}

/** Stores the frame below `top` aligned down to 16 bytes; returns the new RSP. */
function pushFrame(
  cpu: Cpu, top: bigint, oldRsp: bigint, flags: number, rip: bigint, errorCode: number, level: number,
): bigint {
  const base = SEG >>> 1
  frame64[1] = rip
  frame32[4] = cpu.views.u16[base + CS * (SEG_SIZE >>> 1)]
  frame32[6] = flags
  frame64[4] = oldRsp
  frame32[10] = cpu.views.u16[base + SS * (SEG_SIZE >>> 1)]
  let bytes = frameWithoutCode
  let size = 40
  if (errorCode >= 0) {
    frame32[0] = errorCode
    bytes = frameBytes
    size = 48
  }
  split64[1] = top
  split32[2] = (split32[2] & ~0xf) >>> 0
  // Aligned down, so that only a stack at the bottom of its 4 GiB borrows.
  if (split32[2] < size) split32[3] -= 1
  split32[2] -= size
  const rsp = split64[1]
  if (level !== 3 && cpu.storeSystemBytes !== undefined) cpu.storeSystemBytes(rsp, bytes)
  else storeWords(cpu, rsp, bytes, size, level)
  return rsp
}

/** Stores the frame word by word, from the top as the processor pushes it. */
function storeWords(cpu: Cpu, rsp: bigint, bytes: Uint8Array, size: number, level: number): void {
  const first = bytes.byteOffset >>> 3
  for (let i = (size >>> 3) - 1; i >= 0; i--) {
    const address = BigInt.asUintN(64, rsp + BigInt(i * 8))
    if (level === 3) cpu.store64(address, frame64[first + i])
    else cpu.storeSystem64(address, frame64[first + i])
  }
}

