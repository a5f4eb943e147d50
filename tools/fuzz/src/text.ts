/** A case as text that people read and keep, and back. Only what is not as in a fresh record is written. */
import { CASE, IN, OUT, RECORD_HEAD, SELECTOR, STATE, type Batch } from '@cofferdam/oracle'
import { FIELDS } from './compare.ts'
import type { Mode } from './encode.ts'

export interface CaseText {
  readonly name: string
  readonly mode: Mode
  /** Instruction bytes in hexadecimal digits, and where they lie. */
  readonly code: string
  readonly at: string
  /** `step`, `pageEnd`; `partial` for tests. */
  readonly flags?: readonly string[]
  /** Registers and memory (by address) before: numbers and bytes in hexadecimal digits. */
  readonly before: Readonly<Record<string, string>>
  /** The real processor's answer: `end`, `rip`, and what changed. */
  readonly after: Readonly<Record<string, string>>
}

const [EFLAGS, SIGNAL, VECTOR, ERROR, CR2, STRAY] = ['eflags', 'end', 'vector', 'error', 'cr2', 'stray']
const numberHex = (bytes: Uint8Array): string => {
  const digits = [...bytes].reverse().map((b) => b.toString(16).padStart(2, '0')).join('').replace(/^0+/, '')
  return digits === '' ? '0' : digits
}
const bytesHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

/** Windows are written in stretches of so many bytes. */
const STRETCH = 16

function* stretches(batch: Batch): Generator<{ linear: number; offset: number; length: number }> {
  let offset = RECORD_HEAD
  for (const { at, length } of batch.pieces) {
    for (let i = 0; i < length; i += STRETCH) {
      yield { linear: at + i, offset: offset + i, length: Math.min(STRETCH, length - i) }
    }
    offset += length
  }
}

/** Values of a record that `differs` picks. */
function valuesOf(
  batch: Batch, index: number, differs: (from: number, size: number) => boolean,
): Record<string, string> {
  const at = batch.at(index)
  const out: Record<string, string> = {}
  const show = (name: string, offset: number, size: number): void => {
    if (differs(at + offset, size)) out[name] = numberHex(batch.u8.subarray(at + offset, at + offset + size))
  }
  for (const { name, offset, size } of FIELDS) show(name, offset, size)
  show(EFLAGS, STATE.RFLAGS, 4)
  for (const { linear, offset, length } of stretches(batch)) {
    if (differs(at + offset, length)) {
      out[linear.toString(16)] = bytesHex(batch.u8.subarray(at + offset, at + offset + length))
    }
  }
  return out
}

/** Makes a text of record `index`; `fresh` is a record as `createBatch` makes it, `real` has the processor's answer. */
export function caseText(name: string, mode: Mode, fresh: Batch, before: Batch, real: Batch, index: number): CaseText {
  const at = before.at(index)
  const unlike = (one: Batch, other: Batch) => (from: number, size: number): boolean => {
    const to = from % other.stride
    for (let i = 0; i < size; i++) if (one.u8[from + i] !== other.u8[(other === fresh ? to : from) + i]) return true
    return false
  }
  const flagBits = before.u32[(at + IN.FLAGS) >> 2]
  const flags = [...(flagBits & CASE.STEP ? ['step'] : []), ...(flagBits & CASE.PAGE_END ? ['pageEnd'] : [])]
  const after: Record<string, string> = { [SIGNAL]: real.u32[(at + OUT.SIGNAL) >> 2] === 0 ? 'none' : 'fault' }
  if (after[SIGNAL] === 'fault') {
    after[VECTOR] = String(real.u32[(at + OUT.VECTOR) >> 2])
    after[ERROR] = real.u64[(at + OUT.ERROR) >> 3].toString(16)
    if (after[VECTOR] === '14') after[CR2] = real.u64[(at + OUT.CR2) >> 3].toString(16)
  }
  after.rip = BigInt.asIntN(64, real.u64[(at + STATE.RIP) >> 3]).toString()
  if (real.u32[(at + OUT.STRAY) >> 2] !== 0) after[STRAY] = real.u32[(at + OUT.STRAY) >> 2].toString(16)
  const length = before.u32[(at + IN.LENGTH) >> 2]
  return {
    name, mode, code: bytesHex(before.u8.subarray(at + IN.CODE, at + IN.CODE + length)),
    at: before.u32[(at + IN.AT) >> 2].toString(16), ...(flags.length > 0 ? { flags } : {}),
    before: valuesOf(before, index, unlike(before, fresh)),
    after: { ...after, ...valuesOf(real, index, unlike(real, before)) },
  }
}

function putNumber(batch: Batch, from: number, size: number, digits: string): void {
  const value = BigInt(`0x${digits}`)
  for (let i = 0; i < size; i++) batch.u8[from + i] = Number(value >> BigInt(8 * i) & 0xffn)
}

/** Writes values of a text into a record. */
function putValues(batch: Batch, index: number, values: Readonly<Record<string, string>>): void {
  const at = batch.at(index)
  for (const { name, offset, size } of FIELDS) if (name in values) putNumber(batch, at + offset, size, values[name])
  if (EFLAGS in values) putNumber(batch, at + STATE.RFLAGS, 4, values[EFLAGS])
  for (const { linear, offset } of stretches(batch)) {
    const digits = values[linear.toString(16)] as string | undefined
    if (digits !== undefined) batch.u8.set(Buffer.from(digits, 'hex'), at + offset)
  }
}

/** Fills a fresh record from a text. */
export function placeText(text: CaseText, batch: Batch, index: number): void {
  const at = batch.at(index)
  if (text.mode !== 64) {
    const { CODE32, DATA } = SELECTOR
    batch.u16.set([DATA, CODE32, DATA, DATA, DATA, DATA], (at + STATE.SELECTORS) >> 1)
  }
  const has = (name: string): boolean => text.flags?.includes(name) === true
  const flags = (has('step') ? CASE.STEP : 0) | (has('pageEnd') ? CASE.PAGE_END : 0)
  batch.setCode(index, Buffer.from(text.code, 'hex'), flags, parseInt(text.at, 16))
  putValues(batch, index, text.before)
}

/** Fills a record with the answer that a text holds; `before` has the case. */
export function placeAnswer(text: CaseText, before: Batch, to: Batch, index: number): void {
  const at = to.at(index)
  to.recordOf(index).set(before.recordOf(index))
  to.u32.fill(0, at >> 2, (at + 64) >> 2)
  const { after } = text
  if (after[SIGNAL] === 'fault') {
    to.u32[(at + OUT.SIGNAL) >> 2] = 11
    to.u32[(at + OUT.VECTOR) >> 2] = Number(after[VECTOR])
    to.u64[(at + OUT.ERROR) >> 3] = BigInt(`0x${after[ERROR]}`)
    if (CR2 in after) to.u64[(at + OUT.CR2) >> 3] = BigInt(`0x${after[CR2]}`)
  }
  to.u64[(at + STATE.RIP) >> 3] = BigInt.asUintN(64, BigInt(after.rip))
  if (STRAY in after) to.u32[(at + OUT.STRAY) >> 2] = parseInt(after[STRAY], 16)
  putValues(to, index, after)
}
