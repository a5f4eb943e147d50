/**
 * The breakpoints that DR0–DR3 and DR7 name (SDM vol. 3 §18.2). Nobody looks for them on the way: pages with data
 * breakpoints are kept out of the TLBs, pages with instruction breakpoints are run instruction by instruction.
 */
import type { MemoryViews } from '@cofferdam/memory'
import { Cr4 } from '@cofferdam/spec'
import { CR4, DR, EVENT } from '../state.ts'
import { EVENT_STOP } from './uop.ts'

/** R/W fields of DR7 (SDM vol. 3 §18.2.4). */
const KIND = { EXECUTE: 0, WRITE: 1, IO: 2, ACCESS: 3 } as const
/** Bytes by LEN field. */
const LENGTHS = [1, 2, 8, 4] as const
const { DE } = Cr4.mask
const ENABLES = 0xff
const DR7 = (DR >>> 3) + 7

/** A place that a debugger outside of the guest watches: the guest sees nothing of it. */
export interface HostWatch {
  readonly kind: 'execute' | 'write' | 'access'
  /** Linear address, as an unsigned 64-bit number. */
  readonly address: bigint
  /** Bytes, at least 1; an instruction is watched at its first byte. */
  readonly length: number
}

/** In `hits`: a host's watch, which is no bit of DR6. */
export const HOST_HIT = 1 << 16
const HOST_KINDS = { execute: KIND.EXECUTE, write: KIND.WRITE, access: KIND.ACCESS } as const

interface Watch {
  /** Its bit in DR6, or HOST_HIT. */
  readonly bit: number
  readonly host?: HostWatch
  readonly kind: number
  readonly first: bigint
  readonly last: bigint
}

export interface Breakpoints {
  /** Bits of DR6 that a trap after the present instruction sets. */
  hits: number
  /** How many instruction breakpoints are enabled, and how many of data and ports. */
  code: number
  data: number
  ports: number
  /** The host's watch that was hit last. */
  hostHit: HostWatch | null
  /** What the host watches, from now on. */
  watch(watches: readonly HostWatch[]): void
  /** Reads the registers again; whether what is enabled changed, so that translations must be made anew. */
  refresh(): boolean
  /** Whether the linear page (address / 4096) holds an instruction breakpoint. */
  holdsCode(page: number): boolean
  /** Whether the linear page of an address holds a data breakpoint. */
  holdsData(low: number, high: number): boolean
  /** Whether an enabled data breakpoint watches any of `size` bytes. */
  watchesData(low: number, high: number, size: number): boolean
  /** Bits of DR6 for the instruction at a linear address. */
  codeAt(low: number, high: number): number
  /** Notes an access to memory, or to ports. */
  accessed(low: number, high: number, size: number, write: boolean): void
  portAccessed(port: number, size: number): void
}

const join = (low: number, high: number): bigint => (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0)

/** The linear page number of an address, as the engine keeps them. */
export const linearPage = (low: number, high: number): number => (high >>> 0) * 0x10_0000 + (low >>> 12)

export function createBreakpoints(views: MemoryViews): Breakpoints {
  const { i32, u64 } = views
  const seen = new BigUint64Array(6)
  let code: Watch[] = []
  let data: Watch[] = []
  let ports: Watch[] = []
  let codePages: number[] = []
  let dataPages: number[] = []

  let hosts: Watch[] = []

  const pageOf = (address: bigint): number => Number(address >> 12n)
  const pagesOf = ({ first, last }: Watch): number[] => {
    const pages: number[] = []
    for (let page = pageOf(first); page <= pageOf(last); page++) pages.push(page)
    return pages
  }

  const watchOf = (n: number, dr7: number): Watch => {
    const kind = (dr7 >>> (16 + n * 4)) & 3
    const length = kind === KIND.EXECUTE ? 1 : LENGTHS[(dr7 >>> (18 + n * 4)) & 3]
    // Low bits that the length covers are ignored (SDM vol. 3 §18.2.5).
    const first = u64[(DR >>> 3) + n] & ~BigInt(length - 1)
    return { bit: 1 << n, kind, first, last: first + BigInt(length - 1) }
  }

  const hit = (watches: readonly Watch[], first: bigint, last: bigint, matches: (kind: number) => boolean): void => {
    for (const watch of watches) {
      if (first > watch.last || last < watch.first || !matches(watch.kind)) continue
      breakpoints.hits |= watch.bit
      if (watch.host !== undefined) breakpoints.hostHit = watch.host
      i32[EVENT >>> 2] |= EVENT_STOP
    }
  }

  const collect = (): void => {
    const dr7 = i32[DR7 << 1]
    // Without CR4.DE the encoding of I/O breakpoints is undefined: none.
    const hasPorts = (i32[CR4 >>> 2] & DE) !== 0
    const all = [...[0, 1, 2, 3].filter((n) => ((dr7 >>> (n * 2)) & 3) !== 0).map((n) => watchOf(n, dr7)), ...hosts]
    code = all.filter(({ kind }) => kind === KIND.EXECUTE)
    data = all.filter(({ kind }) => kind === KIND.WRITE || kind === KIND.ACCESS)
    ports = all.filter(({ kind }) => kind === KIND.IO && hasPorts)
    codePages = code.map(({ first }) => pageOf(first))
    dataPages = data.flatMap(pagesOf)
    breakpoints.code = code.length
    breakpoints.data = data.length
    breakpoints.ports = ports.length
  }

  const breakpoints: Breakpoints = {
    hits: 0, code: 0, data: 0, ports: 0, hostHit: null,
    watch(watches) {
      hosts = watches.map((host) => ({
        bit: HOST_HIT, host, kind: HOST_KINDS[host.kind], first: host.address,
        last: host.address + BigInt(host.kind === 'execute' ? 0 : host.length - 1),
      }))
      collect()
    },
    refresh() {
      const dr7 = u64[DR7]
      if (((Number(dr7 & 0xffn) | Number(seen[4])) & ENABLES) === 0) return false
      const now = [
        u64[DR >>> 3], u64[(DR >>> 3) + 1], u64[(DR >>> 3) + 2], u64[(DR >>> 3) + 3], dr7, u64[CR4 >>> 3] & BigInt(DE),
      ]
      if (now.every((value, i) => value === seen[i])) return false
      seen.set(now)
      collect()
      return true
    },
    holdsCode: (page) => codePages.includes(page),
    holdsData: (low, high) => dataPages.includes(linearPage(low, high)),
    watchesData(low, high, size) {
      const first = join(low, high)
      return data.some((watch) => first <= watch.last && first + BigInt(size - 1) >= watch.first)
    },
    codeAt(low, high) {
      const address = join(low, high)
      let bits = 0
      for (const watch of code) {
        if (watch.first !== address) continue
        bits |= watch.bit
        if (watch.host !== undefined) breakpoints.hostHit = watch.host
      }
      return bits
    },
    accessed(low, high, size, write) {
      const first = join(low, high)
      hit(data, first, first + BigInt(size - 1), (kind) => write || kind === KIND.ACCESS)
    },
    portAccessed(port, size) {
      hit(ports, BigInt(port), BigInt(port + size - 1), () => true)
    },
  }
  return breakpoints
}
