/** A set of 256 vectors in eight words, as ISR, IRR and TMR are read. */
export type VectorSet = number[]

export const createVectorSet = (): VectorSet => [0, 0, 0, 0, 0, 0, 0, 0]

export const hasVector = (set: VectorSet, vector: number): boolean => (set[vector >> 5] >>> (vector & 31) & 1) !== 0

export function addVector(set: VectorSet, vector: number): void {
  set[vector >> 5] = (set[vector >> 5] | 1 << (vector & 31)) >>> 0
}

export function removeVector(set: VectorSet, vector: number): void {
  set[vector >> 5] = (set[vector >> 5] & ~(1 << (vector & 31))) >>> 0
}

/** The highest vector of the set, −1 when it is empty. */
export function highestVector(set: VectorSet): number {
  for (let i = 7; i >= 0; i--) {
    if (set[i] !== 0) return i * 32 + 31 - Math.clz32(set[i])
  }
  return -1
}
