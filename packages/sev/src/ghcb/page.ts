/**
 * The GHCB page, protocol version 2 (AMD 56421 §2.6). A hypervisor copies the page once and works on the copy: the
 * guest can change the original at any time.
 */
import { GHCB_USAGE_STANDARD, Ghcb, GhcbError } from '@cofferdam/spec'

/** Fields that have a bit in the valid bitmap. */
export type GhcbField =
  | 'cpl' | 'xss' | 'dr7' | 'rip' | 'rsp' | 'rax' | 'rcx' | 'rdx' | 'rbx' | 'rbp' | 'rsi' | 'rdi' | 'r8' | 'r9' | 'r10'
  | 'r11' | 'r12' | 'r13' | 'r14' | 'r15' | 'swExitCode' | 'swExitInfo1' | 'swExitInfo2' | 'swScratch' | 'xcr0'
  | 'x87StateGpa'

/** A GHCB page (a copy, or the page itself for a guest) with its valid bitmap. */
export interface GhcbPage {
  readonly bytes: Uint8Array
  readonly version: number
  readonly usage: number
  /** Whether the valid bitmap names a field. */
  has(field: GhcbField): boolean
  /** Whether a field is valid and other than 0. */
  holds(field: GhcbField): boolean
  /** A field's value, or undefined when it is not valid. */
  get(field: GhcbField): bigint | undefined
  /** A field's value whether valid or not. */
  peek(field: GhcbField): bigint
  /** Sets a field and its valid bit. */
  set(field: GhcbField, value: bigint): void
  /** Clears the valid bitmap, as a hypervisor does before it answers. */
  clearValid(): void
  /** Sets protocol version and usage, as a guest does. */
  start(version: number): void
}

/** Byte and mask of a field's bit: one bit for each qword up to the bitmap and the one after. */
const bitOf = (offset: number): { readonly at: number, readonly mask: number } => {
  const index = Math.floor(offset / 8)
  return { at: Ghcb.offset.validBitmap + (index >>> 3), mask: 1 << (index & 7) }
}
const BITS = new Map(Object.entries(Ghcb.offset).map(([field, offset]) => [field, bitOf(offset)]))

/** A view of 4096 bytes. @throws RangeError for another length. */
export function ghcbPage(bytes: Uint8Array): GhcbPage {
  if (bytes.length !== Ghcb.size) throw new RangeError(`a GHCB has 4096 bytes, not ${bytes.length}`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const bitmap = Ghcb.offset.validBitmap
  const has = (field: GhcbField): boolean => {
    const bit = BITS.get(field)
    return bit !== undefined && (bytes[bit.at] & bit.mask) !== 0
  }
  const peek = (field: GhcbField): bigint =>
    field === 'cpl' ? BigInt(bytes[Ghcb.offset.cpl]) : Ghcb.get(view, field)
  return {
    bytes, has, peek,
    get version() {
      return Ghcb.get(view, 'protocolVersion')
    },
    get usage() {
      return Ghcb.get(view, 'usage')
    },
    holds(field) {
      const at = Ghcb.offset[field]
      return has(field) && (view.getUint32(at, true) !== 0 || view.getUint32(at + 4, true) !== 0)
    },
    get: (field) => (has(field) ? peek(field) : undefined),
    set(field, value) {
      if (field === 'cpl') bytes[Ghcb.offset.cpl] = Number(value)
      else Ghcb.set(view, field, value)
      const bit = BITS.get(field)
      if (bit !== undefined) bytes[bit.at] |= bit.mask
    },
    clearValid() {
      bytes.fill(0, bitmap, bitmap + 16)
    },
    start(version) {
      Ghcb.write(view, { protocolVersion: version, usage: GHCB_USAGE_STANDARD })
    },
  }
}

/** Where the scratch area of an exit lies. */
export type GhcbScratch =
  /** In the page's shared buffer, from `offset` of the page, `room` bytes to the buffer's end. */
  | { readonly ok: true; readonly offset: number; readonly room: number }
  | { readonly ok: false; readonly error: number }

/**
 * Checks the scratch address of an exit that needs `bytes`: version 2 wants it inside the shared buffer of this GHCB.
 * @param gpa guest physical address of the GHCB page
 */
export function ghcbScratch(page: GhcbPage, gpa: bigint, bytes: number): GhcbScratch {
  const at = page.get('swScratch')
  if (at === undefined) return { ok: false, error: GhcbError.MISSING_INPUT }
  const start = gpa + BigInt(Ghcb.offset.sharedBuffer)
  const end = start + BigInt(Ghcb.fields.sharedBuffer[1])
  if (at < start || at + BigInt(bytes) > end) return { ok: false, error: GhcbError.INVALID_SCRATCH_AREA }
  return { ok: true, offset: Number(at - gpa), room: Number(end - at) }
}
