/** Memory as meanings in TypeScript see it: through the TLBs where one entry serves an access, else part by part. */
import { ACCESS_IMPLICIT, ACCESS_USER, ACCESS_WRITE } from '@cofferdam/paging'
import type { MemoryViews } from '@cofferdam/memory'
import { guestFault, raise, VECTOR, type Cpu } from '../cpu.ts'
import { CPL, TLB_BASE } from '../state.ts'
import type { Mmu } from './mmu-types.ts'
import { missInfo, TLB_ENTRIES, TLB_MODE_SIZE, TLB_WRITE } from './uop.ts'

/** The part of a `Cpu` that reads and writes memory, and checks that it may. */
export type CpuMemory = Pick<Cpu,
  | 'load' | 'load64' | 'loadBytes' | 'store' | 'store64' | 'storeBytes'
  | 'loadSystem' | 'loadSystem64' | 'storeSystem' | 'storeSystem64' | 'storeSystemBytes'
  | 'checkWrite' | 'checkAlignment' | 'unaligned'>

/** Bits 31:0 of an address, as a signed number. */
export const lowOf = (address: bigint): number => Number(address & 0xffff_ffffn) | 0
/** Bits 63:32 of an address, as a signed number. */
export const highOf = (address: bigint): number => Number((address >> 32n) & 0xffff_ffffn) | 0

/** Whether an address is canonical in the present paging mode. */
export const isCanonical = (mmu: Mmu, address: bigint): boolean =>
  BigInt.asUintN(64, BigInt.asIntN(mmu.la57 ? 57 : 48, address)) === BigInt.asUintN(64, address)

export function createCpuMemory({ i32, u32, u8, u64 }: MemoryViews, mmu: Mmu): CpuMemory {
  /** Host address of an access that one TLB entry serves, or −1. */
  const probe = (base: number, low: number, high: number, size: number, write: boolean): number => {
    if ((low & 0xfff) + size > 4096) return -1
    const entry = (base + (((low >>> 12) & (TLB_ENTRIES - 1)) << 4) + (write ? TLB_WRITE : 0)) >>> 2
    if (i32[entry] !== (low & ~0xfff) || i32[entry + 1] !== high) return -1
    return (low + i32[entry + 2]) >>> 0
  }

  const throwFault = (): never => {
    // eslint-disable-next-line @typescript-eslint/only-throw-error -- see GuestFault: a jump, caught in one place
    throw guestFault
  }

  /** Host address through the present mode's TLB, filling it if that helps; −1: the slow path. */
  const direct = (low: number, high: number, size: number, write: boolean): number => {
    const base = i32[TLB_BASE >>> 2]
    const host = probe(base, low, high, size, write)
    if (host >= 0) return host
    return mmu.miss(low, high, missInfo(size, write ? 2 : 1)) === 1 ? probe(base, low, high, size, write) : -1
  }

  const userAccess = (): number => (i32[CPL >>> 2] === 3 ? ACCESS_USER : 0)
  const eight = new Uint8Array(8)
  const eightView = new DataView(eight.buffer)
  const slots = [new Uint8Array(1), new Uint8Array(2), new Uint8Array(0), new Uint8Array(4)]

  const readHost = (host: number, size: number): number => {
    if (size === 1) return u8[host]
    if (size === 2) return u8[host] | (u8[host + 1] << 8)
    return (host & 3) === 0 ? u32[host >>> 2] : (
      u8[host] | (u8[host + 1] << 8) | (u8[host + 2] << 16) | (u8[host + 3] << 24)
    ) >>> 0
  }
  const writeHost = (host: number, size: number, value: number): void => {
    for (let i = 0; i < size; i++) u8[host + i] = value >>> (8 * i)
  }
  const readHost64 = (host: number): bigint =>
    (host & 7) === 0 ? u64[host >>> 3] : BigInt(readHost(host, 4)) | (BigInt(readHost(host + 4, 4)) << 32n)
  const writeHost64 = (host: number, value: bigint): void => {
    if ((host & 7) === 0) {
      u64[host >>> 3] = value
    } else {
      writeHost(host, 4, Number(value & 0xffff_ffffn))
      writeHost(host + 4, 4, Number((value >> 32n) & 0xffff_ffffn))
    }
  }

  const slowLoad = (low: number, high: number, bytes: Uint8Array, access: number): void => {
    if (!mmu.copyIn(low, high, bytes, access)) throwFault()
  }
  const slowStore = (low: number, high: number, bytes: Uint8Array, access: number): void => {
    if (!mmu.copyOut(low, high, bytes, access)) throwFault()
  }
  const toNumber = (bytes: Uint8Array): number => {
    let value = 0
    for (let i = bytes.length - 1; i >= 0; i--) value = value * 256 + bytes[i]
    return value
  }

  const loadVia = (host: number, low: number, high: number, size: 1 | 2 | 4, access: number): number => {
    if (host >= 0) return readHost(host, size)
    const bytes = slots[size - 1]
    slowLoad(low, high, bytes, access)
    return toNumber(bytes)
  }
  const load64Via = (host: number, low: number, high: number, access: number): bigint => {
    if (host >= 0) return readHost64(host)
    slowLoad(low, high, eight, access)
    return eightView.getBigUint64(0, true)
  }
  const storeVia = (host: number, low: number, high: number, size: 1 | 2 | 4, value: number, access: number): void => {
    if (host >= 0) {
      writeHost(host, size, value)
      return
    }
    const bytes = slots[size - 1]
    for (let i = 0; i < size; i++) bytes[i] = value >>> (8 * i)
    slowStore(low, high, bytes, access)
  }
  const store64Via = (host: number, low: number, high: number, value: bigint, access: number): void => {
    if (host >= 0) {
      writeHost64(host, value)
      return
    }
    eightView.setBigUint64(0, BigInt.asUintN(64, value), true)
    slowStore(low, high, eight, access)
  }

  /** Supervisor accesses look in the supervisor's TLB (AC clear), which only supervisor code fills. */
  const system = (low: number, high: number, size: number, write: boolean): number =>
    i32[CPL >>> 2] === 3 ? probe(mmu.tlb, low, high, size, write) : direct(low, high, size, write)

  return {
    load(address, size) {
      const low = lowOf(address)
      const high = highOf(address)
      return loadVia(direct(low, high, size, false), low, high, size, userAccess())
    },
    load64(address) {
      const low = lowOf(address)
      const high = highOf(address)
      return load64Via(direct(low, high, 8, false), low, high, userAccess())
    },
    loadBytes(address, out) {
      const low = lowOf(address)
      const high = highOf(address)
      const host = direct(low, high, out.length, false)
      if (host >= 0) out.set(u8.subarray(host, host + out.length))
      else slowLoad(low, high, out, userAccess())
    },
    store(address, size, value) {
      const low = lowOf(address)
      const high = highOf(address)
      storeVia(direct(low, high, size, true), low, high, size, value, userAccess())
    },
    store64(address, value) {
      const low = lowOf(address)
      const high = highOf(address)
      store64Via(direct(low, high, 8, true), low, high, value, userAccess())
    },
    storeBytes(address, bytes) {
      const low = lowOf(address)
      const high = highOf(address)
      const host = direct(low, high, bytes.length, true)
      if (host >= 0) u8.set(bytes, host)
      else slowStore(low, high, bytes, userAccess())
    },
    loadSystem(address, size) {
      const low = lowOf(address)
      const high = highOf(address)
      return loadVia(system(low, high, size, false), low, high, size, ACCESS_IMPLICIT)
    },
    loadSystem64(address) {
      const low = lowOf(address)
      const high = highOf(address)
      return load64Via(system(low, high, 8, false), low, high, ACCESS_IMPLICIT)
    },
    storeSystem(address, size, value) {
      const low = lowOf(address)
      const high = highOf(address)
      storeVia(system(low, high, size, true), low, high, size, value, ACCESS_IMPLICIT)
    },
    storeSystem64(address, value) {
      const low = lowOf(address)
      const high = highOf(address)
      store64Via(system(low, high, 8, true), low, high, value, ACCESS_IMPLICIT)
    },
    storeSystemBytes(address, bytes) {
      const low = lowOf(address)
      const high = highOf(address)
      const host = system(low, high, bytes.length, true)
      if (host >= 0) u8.set(bytes, host)
      else slowStore(low, high, bytes, ACCESS_IMPLICIT)
    },
    checkWrite(address, size) {
      if (!mmu.isAligned(lowOf(address), highOf(address), size)) throwFault()
      // The second page faults at its first byte.
      const last = (address + BigInt(size - 1)) & ~0xfffn
      for (const end of last > address ? [address, last] : [address]) {
        if (mmu.translate(lowOf(end), highOf(end), userAccess() | ACCESS_WRITE) < 0) throwFault()
      }
    },
    checkAlignment(address, size) {
      if (i32[TLB_BASE >>> 2] === mmu.unfilled && (lowOf(address) & (size - 1)) !== 0 && isCanonical(mmu, address)) {
        raise(VECTOR.AC, 0)
      }
    },
    unaligned(access) {
      const base = i32[TLB_BASE >>> 2]
      if (base !== mmu.unfilled) return access()
      i32[TLB_BASE >>> 2] = mmu.tlb + 2 * TLB_MODE_SIZE
      try {
        return access()
      } finally {
        i32[TLB_BASE >>> 2] = base
      }
    },
  }
}
