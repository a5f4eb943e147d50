/** RAM read and written from outside: by loaders, devices, debuggers, under the key that they use. */
import { FRAME_NONE, FRAME_ROM, FRAME_WATCHED } from './page-words.ts'
import type { PageKeys } from './keys.ts'
import type { PhysicalMemory } from './types.ts'

const PAGE = 4096

/** The memory that is read and written. */
export interface ContentsOptions extends Pick<PhysicalMemory, 'frameWord' | 'backPage' | 'notifyWrite' | 'filled'> {
  readonly u8: Uint8Array
  readonly keys: PageKeys
}

/** Frame offset of a part of a range, the part's offset in the range, its length. */
type Visit = (frame: number, at: number, n: number) => void

export function createContents(
  { u8, keys, frameWord, backPage, notifyWrite, filled }: ContentsOptions,
): Pick<PhysicalMemory, 'read' | 'write' | 'fill'> {
  /** A page as a key sees it that did not write it. */
  const seen = new Uint8Array(PAGE)

  /** Runs `visit` over the RAM pages of a range; those without a frame get one where `back` says so. */
  const eachPage = (address: number, length: number, visit: Visit, back: boolean): void => {
    for (let at = 0; at < length;) {
      const inPage = (address + at) % PAGE
      const n = Math.min(PAGE - inPage, length - at)
      const page = Math.floor((address + at) / PAGE)
      const word = frameWord(page)
      if (word !== FRAME_NONE && (!back || (word & FRAME_ROM) === 0) && (back || word >= PAGE || filled)) {
        visit(backPage(page) + inPage, at, n)
        if (back && (word & FRAME_WATCHED) !== 0) notifyWrite(address + at, n)
      }
      at += n
    }
  }

  /** Makes the pages of a range plaintext under a key, before they are written. */
  const underKey = (address: number, length: number, key: number): void => {
    if (!keys.active && key === 0) return
    for (let page = Math.floor(address / PAGE); page * PAGE < address + length; page++) {
      const whole = page * PAGE >= address && (page + 1) * PAGE <= address + length
      if (frameWord(page) === FRAME_NONE) continue
      if (whole) keys.claim(page, key)
      else keys.enter(page, key)
    }
  }

  return {
    read(address, out, key = 0) {
      out.fill(0)
      eachPage(address, out.length, (frame, at, n) => {
        const page = Math.floor((address + at) / PAGE)
        if (keys.isUnder(page, key)) {
          out.set(u8.subarray(frame, frame + n), at)
        } else {
          keys.view(page, key, seen)
          out.set(seen.subarray(frame % PAGE, frame % PAGE + n), at)
        }
      }, false)
    },
    write(address, bytes, key = 0) {
      underKey(address, bytes.length, key)
      eachPage(address, bytes.length, (frame, at, n) => { u8.set(bytes.subarray(at, at + n), frame) }, true)
    },
    fill(address, length, value, key = 0) {
      underKey(address, length, key)
      eachPage(address, length, (frame, _at, n) => { u8.fill(value, frame, frame + n) }, true)
    },
  }
}
