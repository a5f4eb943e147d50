/** The least processor on which a meaning can run: state of one record of the oracle, and its window as all memory. */
import type { Batch } from '../batch.ts'
import { CODE_AT, CODE_MAX, DATA_END, IN, DATA_PAGE, OUT, SIGNAL, STATE } from '../layout.ts'
import { guestFault, raise, raisePageFault, S, VECTOR, type Cpu, type Insn, type Meaning } from './inside.ts'

export interface FlatCpu extends Cpu {
  /** Runs a meaning from the state of a record and writes the state after, with what it raised, to the other batch. */
  runRecord(meaning: Meaning, insn: Insn, from: Batch, index: number, to: Batch): void
}

const PAGE = BigInt(DATA_PAGE)
const END = BigInt(DATA_END)
const CODE = BigInt(CODE_AT)

const unused = (): never => { throw new Error('flat cpu: not for this test') }

export function createFlatCpu(): FlatCpu {
  const buffer = new ArrayBuffer(0x1000)
  const views = {
    u8: new Uint8Array(buffer), u16: new Uint16Array(buffer), i32: new Int32Array(buffer), u32: new Uint32Array(buffer),
    i64: new BigInt64Array(buffer), u64: new BigUint64Array(buffer), f64: new Float64Array(buffer),
  }
  const page = new Uint8Array(DATA_END - DATA_PAGE)
  const word = new DataView(new ArrayBuffer(8))
  const word8 = new Uint8Array(word.buffer)
  let code = new Uint8Array(0)
  let flags = 0
  let next = 0n

  const locate = (address: bigint, size: number, write: boolean): number => {
    const end = address + BigInt(size)
    if (address >= PAGE && end <= END) return Number(address - PAGE)
    if (address + 0x8000_0000_0000n >> 48n && BigInt.asIntN(48, address) !== BigInt.asIntN(64,
      address)) raise(VECTOR.GP, 0)
    const missing = address >= PAGE && address < END ? END : address
    return raisePageFault(missing, write ? 6 : 4)
  }
  const loadBytes = (address: bigint, out: Uint8Array): void => {
    if (address >= CODE && address < CODE + 16n) return out.set(code.subarray(Number(address - CODE)).subarray(0,
      out.length))
    const at = locate(address, out.length, false)
    out.set(page.subarray(at, at + out.length))
  }
  const storeBytes = (address: bigint, bytes: Uint8Array): void => page.set(bytes, locate(address, bytes.length, true))
  const get = (address: bigint, size: number): DataView => {
    word.setBigUint64(0, 0n)
    loadBytes(address, word8.subarray(0, size))
    return word
  }

  const cpu: FlatCpu = {
    views, index: 0,
    host: { portRead: unused, portWrite: unused, random64: unused, externalVector: unused },
    load: (address, size) => get(address, size).getUint32(0, true),
    load64: address => get(address, 8).getBigUint64(0, true),
    loadBytes, storeBytes,
    store(address, size, value) {
      word.setUint32(0, value, true)
      storeBytes(address, word8.subarray(0, size))
    },
    store64(address, value) {
      word.setBigUint64(0, value, true)
      storeBytes(address, word8)
    },
    loadSystem: unused, loadSystem64: unused, storeSystem: unused, storeSystem64: unused,
    checkWrite: (address, size) => void locate(address, size, true),
    operandAddress(insn) {
      const base = insn.base < 0 ? 0n : views.u64[(S.GPR >> 3) + insn.base]
      const index = insn.index < 0 ? 0n : views.u64[(S.GPR >> 3) + insn.index] << BigInt(insn.scale)
      return BigInt.asUintN(64, base + index + BigInt(insn.disp))
    },
    segmentAddress: (_seg, offset) => BigInt.asUintN(64, offset),
    getFlags: () => flags,
    setFlags: (value, mask) => { flags = flags & ~mask | value & mask },
    rip: () => CODE, setNextRip: rip => { next = rip }, nextRip: () => next,
    modeChanged: unused, flushTlb: unused, invalidatePage: unused, halt: unused, shutdown: unused, timestamp: unused,
    runRecord(meaning, insn, from, index, to) {
      loadState(from, index)
      to.recordOf(index).set(from.recordOf(index))
      const at = to.at(index)
      to.u32.fill(0, at >> 2, (at + 64) >> 2)
      try {
        meaning(cpu, insn)
        to.u64[(at + STATE.RIP) >> 3] = BigInt(insn.len)
      } catch (fault) {
        if (fault !== guestFault) throw fault
        to.u32[(at + OUT.SIGNAL) >> 2] = SIGNAL.SEGV
        to.u32[(at + OUT.VECTOR) >> 2] = guestFault.vector
        if (guestFault.vector === VECTOR.PF) to.u64[(at + OUT.CR2) >> 3] = guestFault.address
        to.u64[(at + STATE.RIP) >> 3] = 0n
      }
      saveState(to, index)
    },
  }

  function loadState(batch: Batch, index: number): void {
    const at = batch.at(index)
    code = batch.u8.subarray(at + IN.CODE, at + IN.CODE + CODE_MAX) as Uint8Array<ArrayBuffer>
    views.u8.fill(0)
    views.u8.set(batch.u8.subarray(at + STATE.GPR, at + STATE.GPR + 128), S.GPR)
    flags = batch.u32[(at + STATE.RFLAGS) >> 2] & 0x240cd5 | 0x202
    for (let i = 0; i < 16; i++) {
      const ymm = at + STATE.YMM + 32 * i
      views.u8.set(batch.u8.subarray(ymm, ymm + 16), S.XMM + 16 * i)
      views.u8.set(batch.u8.subarray(ymm + 16, ymm + 32), S.YMMH + 16 * i)
    }
    views.u32[S.MXCSR >> 2] = batch.u32[(at + STATE.MXCSR) >> 2]
    const u16 = (field: number): number => batch.u16[(at + field) >> 1]
    views.u32[S.FCW >> 2] = u16(STATE.FCW)
    views.u32[S.FSW >> 2] = u16(STATE.FSW)
    views.u32[S.FTW >> 2] = u16(STATE.FTW)
    views.u32[S.FOP >> 2] = u16(STATE.FOP)
    views.u64[S.FIP >> 3] = batch.u64[(at + STATE.FIP) >> 3]
    views.u64[S.FDP >> 3] = batch.u64[(at + STATE.FDP) >> 3]
    const top = u16(STATE.FSW) >> 11 & 7
    for (let i = 0; i < 8; i++) {
      const st = at + STATE.ST + 16 * i
      views.u8.set(batch.u8.subarray(st, st + 10), S.FPR + 16 * ((top + i) & 7))
    }
    // User mode under an operating system that supports everything: CR0 PE MP NE, CR4 OSFXSR OSXMMEXCPT OSXSAVE.
    views.u32[S.CR0 >> 2] = 0x8000_0023
    views.u32[S.CR4 >> 2] = 0x40600
    views.u32[S.XCR0 >> 2] = 7
    views.u64[S.EFER >> 3] = 0x500n
    views.u32[S.CPL >> 2] = 3
    page.fill(0)
    page.set(batch.windowOf(index), page.length - batch.window)
  }

  function saveState(batch: Batch, index: number): void {
    const at = batch.at(index)
    batch.u8.set(views.u8.subarray(S.GPR, S.GPR + 128), at + STATE.GPR)
    batch.u32[(at + STATE.RFLAGS) >> 2] = flags
    for (let i = 0; i < 16; i++) {
      const ymm = at + STATE.YMM + 32 * i
      batch.u8.set(views.u8.subarray(S.XMM + 16 * i, S.XMM + 16 * i + 16), ymm)
      batch.u8.set(views.u8.subarray(S.YMMH + 16 * i, S.YMMH + 16 * i + 16), ymm + 16)
    }
    batch.u32[(at + STATE.MXCSR) >> 2] = views.u32[S.MXCSR >> 2]
    for (const [field, from] of [[STATE.FCW, S.FCW], [STATE.FSW, S.FSW], [STATE.FTW, S.FTW], [STATE.FOP,
      S.FOP]] as const) {
      batch.u16[(at + field) >> 1] = views.u32[from >> 2]
    }
    batch.u64[(at + STATE.FIP) >> 3] = views.u64[S.FIP >> 3]
    batch.u64[(at + STATE.FDP) >> 3] = views.u64[S.FDP >> 3]
    const top = views.u32[S.FSW >> 2] >> 11 & 7
    for (let i = 0; i < 8; i++) {
      const from = S.FPR + 16 * ((top + i) & 7)
      batch.u8.set(views.u8.subarray(from, from + 10), at + STATE.ST + 16 * i)
    }
    batch.windowOf(index).set(page.subarray(page.length - batch.window))
  }
  return cpu
}
