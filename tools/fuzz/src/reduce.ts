/** Makes a case that differs smaller, as long as it differs: fewer bytes, and a state with less in it. */
import { CASE, IN, RECORD_HEAD, SELECTOR, STATE, type Batch } from '@cofferdam/oracle'
import { createInsn, decode, DECODED, MODE16, MODE32, MODE64 } from '@cofferdam/x86'
import type { Mode } from './encode.ts'

/** Whether the one case of a batch still differs. */
export type Differs = (batch: Batch) => boolean

const WIDTHS = { 16: MODE16, 32: MODE32, 64: MODE64 } as const
/** Cases run at most. */
const TRIES = 600

/** Where the instructions of a case begin, and where the last one ends. */
export function instructionStarts(code: Uint8Array, mode: Mode): number[] {
  const insn = createInsn()
  const padded = new Uint8Array(code.length + 16)
  padded.set(code)
  const starts = [0]
  for (let at = 0; at < code.length;) {
    decode(padded, at, padded.length, WIDTHS[mode], insn)
    at += Math.max(1, insn.len)
    starts.push(Math.min(at, code.length))
  }
  return starts
}

/** Whether the last instruction is all there. */
export function isWhole(code: Uint8Array, mode: Mode): boolean {
  const starts = instructionStarts(code, mode)
  const last = starts[starts.length - 2]
  const insn = createInsn()
  decode(code, last, code.length, WIDTHS[mode], insn)
  return insn.status === DECODED
}

/** One simplification: changes the batch's case; answers false where there is nothing to change. */
type Step = (batch: Batch) => boolean

const zeroBytes = (offset: number, size: number): Step => (batch) => {
  const bytes = batch.u8.subarray(offset, offset + size)
  if (bytes.every((b) => b === 0)) return false
  bytes.fill(0)
  return true
}

const put16 = (offset: number, value: number): Step => (batch) => {
  if (batch.u16[offset >> 1] === value) return false
  batch.u16[offset >> 1] = value
  return true
}

const put32 = (offset: number, value: number): Step => (batch) => {
  if (batch.u32[offset >> 2] === value) return false
  batch.u32[offset >> 2] = value
  return true
}

function setBytes(batch: Batch, code: number[]): void {
  const flags = batch.u32[IN.FLAGS >> 2]
  const at = batch.u32[IN.AT >> 2]
  const length = batch.u32[IN.LENGTH >> 2]
  // Bytes that end where a page does still do.
  batch.setCode(0, code, flags & ~CASE.COMPAT, (flags & CASE.PAGE_END) !== 0 ? at + length - code.length : at)
  batch.u8.fill(0, IN.CODE + code.length, IN.CODE + 48)
}

const codeBytes = (batch: Batch): number[] => [...batch.u8.subarray(IN.CODE, IN.CODE + batch.u32[IN.LENGTH >> 2])]

/** Leaves out bytes [from, to) of the code. */
const cut = (from: number, to: number): Step => (batch) => {
  const code = codeBytes(batch)
  if (from >= code.length || code.length - (to - from) < 1) return false
  code.splice(from, to - from)
  setBytes(batch, code)
  return true
}

const zeroCode = (at: number): Step => (batch) => {
  const code = codeBytes(batch)
  if (at >= code.length || code[at] === 0) return false
  code[at] = 0
  setBytes(batch, code)
  return true
}

function steps(batch: Batch, mode: Mode): Step[] {
  const code = Uint8Array.from(codeBytes(batch))
  const starts = instructionStarts(code, mode)
  const data = mode === 64 ? 0 : SELECTOR.DATA
  const list: Step[] = []
  for (let i = starts.length - 2; i >= 0; i--) if (starts.length > 2) list.push(cut(starts[i], starts[i + 1]))
  list.push(zeroBytes(RECORD_HEAD, batch.window))
  for (let r = 0; r < 16; r++) list.push(zeroBytes(STATE.GPR + 8 * r, 8), zeroBytes(STATE.YMM + 32 * r, 32))
  for (let i = 0; i < 8; i++) list.push(zeroBytes(STATE.ST + 16 * i, 16))
  list.push(put32(STATE.RFLAGS, 0x202), put32(STATE.MXCSR, 0x1f80))
  list.push(put16(STATE.FCW, 0x37f), put16(STATE.FSW, 0), put16(STATE.FTW, 0), put16(STATE.FOP, 0))
  list.push(zeroBytes(STATE.FIP, 8), zeroBytes(STATE.FDP, 8), zeroBytes(STATE.FS_BASE, 8), zeroBytes(STATE.GS_BASE, 8))
  for (const s of [0, 3, 4, 5]) list.push(put16(STATE.SELECTORS + 2 * s, data))
  list.push(put16(STATE.SELECTORS + 4, SELECTOR.DATA))
  if (mode === 32) list.push(put16(STATE.SELECTORS + 2, SELECTOR.CODE32))
  for (let i = 0; i < batch.window; i += 16) list.push(zeroBytes(RECORD_HEAD + i, 16))
  for (let bit = 1; bit <= 0x20_0000; bit <<= 1) {
    list.push(
      (b) => (b.u32[STATE.RFLAGS >> 2] & ~0x202 & bit) !== 0 && put32(STATE.RFLAGS, b.u32[STATE.RFLAGS >> 2] & ~bit)(b)
    )
  }
  for (let i = 0; i < code.length; i++) list.push(cut(i, i + 1))
  for (let i = 0; i < code.length; i++) list.push(zeroCode(i))
  for (let i = 0; i < 128; i++) list.push(zeroBytes(STATE.GPR + i, 1))
  for (let i = 0; i < 512; i += 4) list.push(zeroBytes(STATE.YMM + i, 4))
  return list
}

/** Simplifies the only case of `batch` in place; answers how many cases were tried. */
export function reduce(batch: Batch, mode: Mode, differs: Differs): number {
  let tries = 0
  const whole = isWhole(Uint8Array.from(codeBytes(batch)), mode)
  for (let again = true; again && tries < TRIES;) {
    again = false
    for (const step of steps(batch, mode)) {
      if (tries >= TRIES) break
      const before = batch.recordOf(0).slice()
      if (!step(batch)) continue
      tries++
      const fits = !whole || isWhole(Uint8Array.from(codeBytes(batch)), mode)
      if (fits && differs(batch)) again = true
      else batch.recordOf(0).set(before)
    }
  }
  return tries
}
