/** Data that came before what precedes it. Where pieces overlap, what came first counts. */
import { before, distance, plus } from './segment.ts'

interface Piece {
  readonly seq: number
  readonly data: Uint8Array
}

/** Pieces behind a gap. They lie in the receive window, which bounds their bytes. */
export interface Gaps {
  /** Keeps what is new in a piece, as long as there are not too many. */
  add(seq: number, data: Uint8Array): void
  /** Takes what follows at `seq`; undefined when there still is a gap. */
  take(seq: number): Uint8Array | undefined
  readonly pieces: readonly Piece[]
  clear(): void
}

/** So many pieces; a window of full segments is 45. */
const MOST = 64

const endOf = ({ seq, data }: Piece): number => plus(seq, data.length)

/** Creates an empty store. */
export function createGaps(): Gaps {
  const pieces: Piece[] = []

  const insert = (piece: Piece): void => {
    if (pieces.length >= MOST) return
    const at = pieces.findIndex(({ seq }) => before(piece.seq, seq))
    pieces.splice(at < 0 ? pieces.length : at, 0, { seq: piece.seq, data: piece.data.slice() })
  }

  return {
    pieces,
    add(seq, data) {
      const end = plus(seq, data.length)
      let from = seq
      for (const known of [...pieces]) {
        if (!before(from, end)) return
        if (before(from, known.seq)) {
          const length = Math.min(distance(known.seq, from), distance(end, from))
          insert({ seq: from, data: data.subarray(distance(from, seq), distance(from, seq) + length) })
        }
        if (before(from, endOf(known))) from = endOf(known)
      }
      if (before(from, end)) insert({ seq: from, data: data.subarray(distance(from, seq)) })
    },
    take(seq) {
      for (;;) {
        const first = pieces.at(0)
        if (first === undefined || before(seq, first.seq)) return undefined
        pieces.shift()
        const skip = distance(seq, first.seq)
        if (skip < first.data.length) return first.data.subarray(skip)
      }
    },
    clear() { pieces.length = 0 },
  }
}
