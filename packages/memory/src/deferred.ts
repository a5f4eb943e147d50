/**
 * Contents that come later: a memory that is made from an image gives every page its frame at once, and leaves the
 * frames empty until somebody looks at a page of their piece. Most machines that go on from an image are done before
 * they have looked at much of it; and pieces of a file have to be unpacked first.
 */
import { IMAGE_PIECE, MemoryImageError, pieceBytes } from './image.ts'
import type { ImagePiece } from './image.ts'

export interface DeferredOptions {
  readonly u8: Uint8Array
  /** The contents of the page are in its frame now. */
  readonly arrived: (page: number) => void
}

export interface Deferred {
  /** Whether a piece is still to come. */
  readonly any: boolean
  /** Takes the pieces of an image, whose frames begin at `frame`. */
  add(pieces: readonly ImagePiece[], frame: number): void
  /** Answers whether the contents of a page, which has the frame, come later; it will then hear of it. */
  expects(page: number, frame: number): boolean
  /** Fills the piece that a frame lies in. @throws MemoryImageError when its bytes are not what was announced */
  fetch(frame: number): void
  /** Fills all. @throws MemoryImageError */
  fetchAll(): void
}

/** Creates a list of nothing. */
export function createDeferred({ u8, arrived }: DeferredOptions): Deferred {
  /** Pieces to come by number, with their pages. */
  const awaited = new Map<number, { readonly piece: ImagePiece, readonly pages: number[] }>()
  let base = 0
  const numberOf = (frame: number): number => Math.floor((frame - base) / IMAGE_PIECE)

  const fill = (number: number): void => {
    const one = awaited.get(number)
    if (one === undefined) return
    const bytes = pieceBytes(one.piece)
    if (bytes.length !== one.piece.length) {
      throw new MemoryImageError('contents', `expected ${one.piece.length} bytes, got ${bytes.length}`)
    }
    u8.set(bytes, base + number * IMAGE_PIECE)
    awaited.delete(number)
    for (const page of one.pages) arrived(page)
  }
  return {
    get any() { return awaited.size > 0 },
    add(pieces, frame) {
      base = frame
      for (const [number, piece] of pieces.entries()) awaited.set(number, { piece, pages: [] })
    },
    expects(page, frame) {
      const one = awaited.get(numberOf(frame))
      // Frames behind the last piece belong to pages of zeros.
      if (one === undefined || (frame - base) % IMAGE_PIECE >= one.piece.length) return false
      one.pages.push(page)
      return true
    },
    fetch(frame) { fill(numberOf(frame)) },
    fetchAll() { for (const number of [...awaited.keys()]) fill(number) },
  }
}
