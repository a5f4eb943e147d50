/**
 * The launch digest: what the firmware keeps while pages are added to a guest (AMD 56860 §8.18.2). Each page extends it
 * by a PAGE_INFO structure that names its contents, its type and its place.
 */
import { sha384 } from '@noble/hashes/sha2.js'
import { SNP_VMSA_GPA, SnpPageInfo, SnpPageType } from '@cofferdam/spec'

const PAGE = 4096
/** Bytes of a launch digest: SHA-384. */
export const DIGEST_BYTES = 48

/** One page as the digest sees it. */
export interface MeasuredPage {
  /** A number of `SnpPageType`. */
  readonly type: number
  /** Guest physical address. */
  readonly gpa: bigint
  /** The page's bytes, where its type measures them (NORMAL and VMSA); left out for others. */
  readonly bytes?: Uint8Array
  /** Part of an incoming migration image. */
  readonly imi?: boolean
  /** Permissions of VMPL1, VMPL2 and VMPL3. */
  readonly vmpls?: readonly [number, number, number]
}

/** The digest after a page. @throws RangeError when a measured page has no 4096 bytes. */
export function extendLaunchDigest(current: Uint8Array, page: MeasuredPage): Uint8Array {
  const { type, gpa, bytes, imi = false, vmpls: [vmpl1, vmpl2, vmpl3] = [0, 0, 0] } = page
  const measured = type === SnpPageType.NORMAL || type === SnpPageType.VMSA
  if (measured && bytes?.length !== PAGE) throw new RangeError('a measured page has 4096 bytes')
  return sha384(SnpPageInfo.create({
    digestCurrent: current, contents: measured && bytes !== undefined ? sha384(bytes) : new Uint8Array(DIGEST_BYTES),
    length: SnpPageInfo.size, pageType: type, imiPage: imi ? 1 : 0, vmpl1, vmpl2, vmpl3, gpa,
  }))
}

/** Collects a launch digest page by page. */
export interface LaunchDigest {
  readonly value: Uint8Array
  add(page: MeasuredPage): void
  /** Adds NORMAL pages; `bytes` fills whole pages. */
  addNormal(gpa: bigint, bytes: Uint8Array): void
  /** Adds pages whose contents are not measured. */
  addUnread(type: number, gpa: bigint, length: number): void
  /** Adds a VMSA page, whose address the firmware makes up. */
  addVmsa(bytes: Uint8Array): void
}

/** Starts a digest, from zero or from one that was computed before. */
export function createLaunchDigest(seed: Uint8Array = new Uint8Array(DIGEST_BYTES)): LaunchDigest {
  if (seed.length !== DIGEST_BYTES) throw new RangeError('a launch digest has 48 bytes')
  let value = seed
  const add = (page: MeasuredPage): void => {
    value = extendLaunchDigest(value, page)
  }
  return {
    get value() {
      return value
    },
    add,
    addNormal(gpa, bytes) {
      if (bytes.length % PAGE !== 0) throw new RangeError('whole pages')
      for (let at = 0; at < bytes.length; at += PAGE) {
        add({ type: SnpPageType.NORMAL, gpa: gpa + BigInt(at), bytes: bytes.subarray(at, at + PAGE) })
      }
    },
    addUnread(type, gpa, length) {
      for (let at = 0; at < length; at += PAGE) add({ type, gpa: gpa + BigInt(at) })
    },
    addVmsa: (bytes) => { add({ type: SnpPageType.VMSA, gpa: SNP_VMSA_GPA, bytes }) },
  }
}
