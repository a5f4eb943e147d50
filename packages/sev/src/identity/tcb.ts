/** TCB_VERSION: security version numbers of the firmware's parts, packed differently by product (AMD 56860 §2.2). */
import { TcbVersion, TcbVersionTurin } from '@cofferdam/spec'

/** Products whose endorsement keys differ. */
export type SevProduct = 'Milan' | 'Genoa' | 'Turin'

/** Security version numbers, 0 to 255 each. `fmc` exists from Turin on. */
export interface TcbParts {
  readonly fmc: number
  readonly bootLoader: number
  readonly tee: number
  readonly snp: number
  readonly microcode: number
}

/** Packs the parts as the product does. */
export function encodeTcb(product: SevProduct, tcb: TcbParts): bigint {
  const { fmc, bootLoader, tee, snp, microcode } = tcb
  const common = { bootLoader: BigInt(bootLoader), tee: BigInt(tee), snp: BigInt(snp), microcode: BigInt(microcode) }
  return product === 'Turin' ? TcbVersionTurin.pack({ fmc: BigInt(fmc), ...common }) : TcbVersion.pack(common)
}

/** Takes a packed version apart. */
export function decodeTcb(product: SevProduct, value: bigint): TcbParts {
  const v: Record<string, bigint> = product === 'Turin' ? TcbVersionTurin.unpack(value) : TcbVersion.unpack(value)
  const part = (name: string): number => Number(v[name] ?? 0n)
  return {
    fmc: part('fmc'), bootLoader: part('bootLoader'), tee: part('tee'), snp: part('snp'), microcode: part('microcode'),
  }
}

/** Whether every part of `a` is at most that of `b`, and no reserved bit is set. */
export function tcbAtMost(product: SevProduct, a: bigint, b: bigint): boolean {
  const [x, y] = [decodeTcb(product, a), decodeTcb(product, b)]
  const fits = x.fmc <= y.fmc && x.bootLoader <= y.bootLoader && x.tee <= y.tee && x.snp <= y.snp &&
    x.microcode <= y.microcode
  return fits && encodeTcb(product, x) === a
}
