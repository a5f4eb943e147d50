/**
 * A processor with SEV-SNP, a host in TypeScript, and a guest in 64-bit mode with its VMSA: for tests of the silicon.
 */
import { createPhysicalMemory } from '@cofferdam/memory'
import type { PhysicalMemory } from '@cofferdam/memory'
import { createPageTables } from '@cofferdam/paging'
import type { PageTables } from '@cofferdam/paging'
import { Intercept3, Intercept4, Msr, NestedControl, SevFeatures, SysCfg, VmcbControl, Vmsa } from '@cofferdam/spec'
import {
  ATTR, attachExtensions, CR0_BITS, CR4_BITS, createCpuSystem, createEngine, createPlainApic, createProcessor,
  EFER_BITS, engineOverhead, epycGenoa, extendedMeanings, extendedMsrs, extendSystem, flatTopology, guestFault,
  loadState, resetCpu, state,
} from '@cofferdam/x86'
import type { Processor, SvmCore, SvmRun } from '@cofferdam/x86'
import { createRmpTable, createSevSilicon } from '../src/index.ts'
import type { RmpFields, RmpTable, SevSilicon, SevSiliconOptions } from '../src/index.ts'

/** System physical addresses. */
export const HOST = {
  code: 0x1_0000, tables: 0x2_0000, stack: 0x6_0000, idt: 0x7_0000, gdt: 0x7_1000, handler: 0x7_2000, rmp: 0x10_0000,
  vmcb: 0x20_0000, iopm: 0x21_0000, msrpm: 0x22_0000, save: 0x23_0000, nested: 0x24_0000, guest: 0x80_0000,
  vmsa: 0xa0_0000,
} as const
/** Guest physical addresses; the guest has 1 MiB. `shared` is mapped without the C-bit. */
export const GUEST = {
  code: 0x1000, stack: 0x8000, data: 0x9000, idt: 0xa000, gdt: 0xb000, handler: 0xc000, shared: 0xe000, other: 0xf000,
  tables: 0x1_0000, size: 0x10_0000, vmsa: 0x30_0000,
} as const
export const ASID = 5
export const C_BIT = 1n << 51n
const PAGE = 4096
const RMP_BYTES = 0x4000 + (2 ** 24 / PAGE) * 16

export type Mode = 'sev' | 'es' | 'snp'
type ControlField = keyof typeof VmcbControl.offset
type VmsaField = keyof typeof Vmsa.offset

export interface SevBox {
  readonly memory: PhysicalMemory
  readonly processor: Processor
  readonly svm: SvmCore
  readonly silicon: SevSilicon
  readonly rmp: RmpTable
  readonly nested: PageTables
  /** Code for the guest, in hexadecimal. */
  program(code: string, gpa?: number): void
  control(field: ControlField): bigint
  setControl(field: ControlField, value: bigint | number): void
  intercept(field: ControlField, bits: number): void
  /** A field of the VMSA, as the guest's key sees it. */
  state(field: VmsaField): bigint
  setState(field: VmsaField, value: bigint | number): void
  /** The guest's memory under its key, or under another (0: the host's view). */
  peek(gpa: number, size?: 1 | 2 | 4 | 8, key?: number): bigint
  poke(gpa: number, value: bigint | number, size?: 1 | 2 | 4 | 8, key?: number): void
  /** Bytes of a system physical address. */
  peekHost(address: number, size: 1 | 2 | 4 | 8, key?: number): bigint
  pokeHost(address: number, value: bigint | number, size?: 1 | 2 | 4 | 8): void
  /** The RMP entry of a guest page. */
  entry(gpa: number): RmpFields | null
  setEntry(gpa: number, fields: Partial<RmpFields>): void
  run(instructions?: number): SvmRun
  exit(): Extract<SvmRun, { exit: 'vmexit' }>
  /** Runs to the next VMGEXIT, as the #VC handler makes it; answers the error code of the #VC. */
  vc(): bigint
  readMsr(index: number): bigint | 'gp'
  writeMsr(index: number, value: bigint): 'gp' | undefined
  /** Runs host code at HOST.code in long mode to HLT; answers vector and error code of the exception it met, if any. */
  host(
    code: string, registers?: Partial<Record<'rax' | 'rcx' | 'rdx' | 'rbx', bigint>>,
  ): { vector: number; error: bigint; cr2: bigint } | null
  register(n: number): bigint
}

const hex = (text: string): Uint8Array =>
  Uint8Array.from(text.match(/[0-9a-f]{2}/g) ?? [], (byte) => parseInt(byte, 16))
const segment = (selector: number, attributes: number): bigint =>
  BigInt(selector) | (BigInt(attributes) << 16n) | (0xffff_ffffn << 32n)
const CODE = ATTR.P | ATTR.S | ATTR.L | 0xb
const DATA = ATTR.P | ATTR.S | ATTR.DB | 3

export function createSevBox(mode: Mode = 'snp', features = 0n, more: Partial<SevSiliconOptions> = {}): SevBox {
  const memory = createPhysicalMemory({ ram: [{ start: 0, length: 2 ** 24 }], overhead: engineOverhead(1, 2 ** 21) })
  const rmp = createRmpTable(memory)
  const silicon = createSevSilicon({ memory, rmp, minSevAsid: 4, ...more })
  const { extensions } = silicon
  const engine = createEngine({
    memory, processors: 1, meanings: extendedMeanings(extensions), hotForms: [], uopBytes: 2 ** 21, engine: 'interp',
  })
  let random = 1n
  const processor = createProcessor({
    engine, index: 0, physicalBits: epycGenoa.physicalBits,
    system: extendSystem(createCpuSystem({
      model: epycGenoa, topology: flatTopology(1), index: 0, apic: createPlainApic(),
      msrs: extendedMsrs(epycGenoa, extensions),
    }), extensions),
    host: {
      portRead: () => 0, portWrite: () => undefined,
      random64: () => (random = BigInt.asUintN(64, random * 0x5851_f42d_4c95_7f2dn + 1n)),
      externalVector: () => -1,
    },
    acknowledge: () => -1,
    attend: () => undefined,
  })
  attachExtensions(processor, memory, extensions)
  processor.activate()
  resetCpu(processor.cpu)
  const box = createControls(memory, processor, silicon, rmp)
  setUpHost(box)
  setUpGuest(box, mode, features)
  return box
}

function createControls(memory: PhysicalMemory, processor: Processor, silicon: SevSilicon, rmp: RmpTable): SevBox {
  const { cpu } = processor
  const svm = silicon.svmOf(cpu)
  const load = (address: number, size: number, key: number): bigint => {
    const bytes = new Uint8Array(8)
    memory.read(address, bytes.subarray(0, size), key)
    return new DataView(bytes.buffer).getBigUint64(0, true)
  }
  const store = (address: number, value: bigint | number, size: number, key: number): void => {
    memory.write(
      address, new Uint8Array(BigUint64Array.of(BigInt.asUintN(64, BigInt(value))).buffer).subarray(0, size), key,
    )
  }
  const control = (field: ControlField): readonly [number, number] =>
    [HOST.vmcb + VmcbControl.offset[field], VmcbControl.fields[field][1]]
  const vmsa = (field: VmsaField): readonly [number, number] => [HOST.vmsa + Vmsa.offset[field], Vmsa.fields[field][1]]
  let free: number = HOST.nested
  const nested = createPageTables({
    levels: 4,
    memory: {
      allocate: () => (free += PAGE) - PAGE, load64: (at) => load(at, 8, 0),
      store64: (at, value) => { store(at, value, 8, 0) },
    },
  })
  const msr = (index: number) => processor.cpu.system?.msrs.get(index)
  const guarded = <T>(act: () => T): T | 'gp' => {
    processor.activate()
    try {
      return act()
    } catch (fault) {
      if (fault !== guestFault) throw fault
      return 'gp'
    }
  }
  const box: SevBox = {
    memory, processor, svm, silicon, rmp, nested,
    program: (code, gpa = GUEST.code) => { memory.write(HOST.guest + gpa, hex(code), ASID) },
    control: (field) => load(...control(field), 0),
    setControl(field, value) {
      const [address, size] = control(field)
      store(address, value, size, 0)
    },
    intercept(field, bits) { box.setControl(field, box.control(field) | BigInt(bits >>> 0)) },
    state: (field) => load(...vmsa(field), ASID),
    setState(field, value) {
      const [address, size] = vmsa(field)
      store(address, value, size, ASID)
    },
    peek: (gpa, size = 8, key = ASID) => load(HOST.guest + gpa, size, key),
    poke: (gpa, value, size = 8, key = ASID) => { store(HOST.guest + gpa, value, size, key) },
    peekHost: (address, size, key = 0) => load(address, size, key),
    pokeHost: (address, value, size = 8) => { store(address, value, size, 0) },
    entry: (gpa) => rmp.read((HOST.guest + gpa) / PAGE),
    setEntry(gpa, fields) {
      const page = (HOST.guest + gpa) / PAGE
      rmp.write(page, { ...rmp.read(page) as RmpFields, ...fields })
    },
    run: (instructions = 10_000) => svm.vmrun(HOST.vmcb, instructions),
    exit() {
      const run = box.run()
      if (run.exit !== 'vmexit') {
        throw new Error(`no exit: stopped '${processor.stopped}', rip ${cpu.rip().toString(16)}`)
      }
      return run
    },
    vc() {
      const { code } = box.exit()
      if (code !== 0x403) throw new Error(`exit 0x${code.toString(16)} instead of VMGEXIT`)
      return box.state('rbx')
    },
    readMsr: (index) => guarded(() => msr(index)?.read(cpu) ?? 'gp' as const),
    writeMsr: (index, value) => guarded(() => {
      if (msr(index) === undefined) return 'gp' as const
      msr(index)?.write(cpu, value)
      return undefined
    }),
    host: (code, registers = {}) => runHost(box, code, registers),
    register: (n) => cpu.views.u64[(state.GPR >>> 3) + n],
  }
  return box
}

/** SNP is on; the host has tables that map everything, and handlers that note what they were entered with. */
function setUpHost(box: SevBox): void {
  let free: number = HOST.tables
  const tables = createPageTables({
    levels: 4,
    memory: {
      allocate: () => (free += PAGE) - PAGE, load64: (at) => box.peekHost(at, 8),
      store64: (at, value) => { box.pokeHost(at, value) },
    },
  })
  // Two pages of the host's may lie in one 2 MiB mapping with the guest's: small pages.
  tables.map({ from: 0, length: 2 ** 24, largest: 12 })
  for (let vector = 0; vector < 32; vector++) {
    const handler = HOST.handler + vector * 16
    const coded = [8, 10, 11, 12, 13, 14, 17, 29].includes(vector)
    box.memory.write(handler, hex(coded ? '415841b8000000004989e0 5f f4' : '6a00 5f f4'))
    box.memory.write(handler, hex(coded ? '5f f4' : '6a00 5f f4'))
    box.pokeHost(
      HOST.idt + vector * 16,
      BigInt(handler & 0xffff) | (8n << 16n) | (0x8e00n << 32n) | (BigInt(handler >>> 16) << 48n),
    )
  }
  box.pokeHost(HOST.gdt + 8, 0x00af_9b00_0000_ffffn)
  box.writeMsr(Msr.AMD_RMP_BASE, BigInt(HOST.rmp))
  box.writeMsr(Msr.AMD_RMP_END, BigInt(HOST.rmp + RMP_BYTES - 1))
  const sysCfg = box.readMsr(Msr.AMD_SYSCFG) as bigint
  box.writeMsr(
    Msr.AMD_SYSCFG, sysCfg | SysCfg.mask.MemEncryptionModeEn | SysCfg.mask.VMPLEn | SysCfg.mask.SecureNestedPagingEn,
  )
}

function runHost(box: SevBox, code: string, registers: Parameters<SevBox['host']>[1]): ReturnType<SevBox['host']> {
  const { processor, memory } = box
  memory.write(HOST.code, hex(code))
  const flat = { selector: 16, attributes: DATA, limit: 0xffff_ffff, base: 0n }
  const none = { selector: 0, attributes: 0, limit: 0, base: 0n }
  loadState(processor, {
    registers: { ...registers, rsp: BigInt(HOST.stack) }, rip: BigInt(HOST.code), rflags: 2n, cr3: BigInt(HOST.tables),
    cr0: BigInt((CR0_BITS.PE | CR0_BITS.PG | CR0_BITS.WP | CR0_BITS.ET | CR0_BITS.NE) >>> 0),
    cr4: BigInt(CR4_BITS.PAE | CR4_BITS.OSFXSR),
    efer: BigInt(EFER_BITS.LME | EFER_BITS.LMA | EFER_BITS.NXE | EFER_BITS.SVME),
    gdtr: { base: BigInt(HOST.gdt), limit: 0xf }, idtr: { base: BigInt(HOST.idt), limit: 0x1ff },
    segments: {
      cs: { ...flat, selector: 8, attributes: CODE }, ss: flat, ds: flat, es: flat, fs: flat, gs: flat, ldtr: none,
      tr: none,
    },
  })
  processor.mmu.context.nested = null
  processor.cpu.flushTlb(1)
  processor.halted = false
  processor.run(1000)
  const rip = Number(processor.cpu.rip())
  if (rip < HOST.handler || rip >= HOST.handler + 32 * 16) return null
  const { u64 } = processor.cpu.views
  return { vector: (rip - HOST.handler) >> 4, error: u64[(state.GPR >>> 3) + 7], cr2: u64[state.CR2 >>> 3] }
}

function setUpGuest(box: SevBox, mode: Mode, features: bigint): void {
  const { memory, rmp, nested } = box
  nested.map({ from: 0, to: HOST.guest, length: GUEST.size, user: true, largest: 12 })
  let free: number = GUEST.tables
  const tables = createPageTables({
    levels: 4, tableBits: C_BIT,
    memory: {
      allocate: () => (free += PAGE) - PAGE, load64: (gpa) => box.peek(gpa),
      store64: (gpa, value) => { box.poke(gpa, value) },
    },
  })
  tables.map({ from: 0, length: GUEST.size, largest: 12, bits: C_BIT })
  tables.map({ from: GUEST.shared, length: PAGE, largest: 12 })
  box.poke(GUEST.gdt + 8, 0x00af_9b00_0000_ffffn)
  for (const vector of [6, 13, 14, 28, 29]) {
    box.poke(GUEST.idt + vector * 16, BigInt(GUEST.handler + vector * 16) | (8n << 16n) | (0x8e00n << 32n))
    // pop rbx; vmgexit
    box.program(vector === 6 || vector === 28 ? 'bb01000000 f30f01d9' : '5b f30f01d9', GUEST.handler + vector * 16)
  }
  const fields: RmpFields = {
    assigned: true, large: false, immutable: false, guestPage: 0, asid: ASID, vmsa: false, validated: true,
    permissions: 0xf, inUse: false,
  }
  if (mode === 'snp') {
    for (let page = 0; page < GUEST.size / PAGE; page++) {
      if (page !== GUEST.shared / PAGE) rmp.write(HOST.guest / PAGE + page, { ...fields, guestPage: page })
    }
    rmp.write(HOST.vmsa / PAGE, { ...fields, vmsa: true, guestPage: GUEST.vmsa / PAGE })
  }
  setUpVmcb(box, mode)
  setUpRegisters(box, mode === 'snp' ? features | SevFeatures.mask.SNPActive : features)
  if (mode === 'sev') copyToVmcb(memory)
}

function setUpVmcb(box: SevBox, mode: Mode): void {
  box.setControl('guestAsid', ASID)
  const n = NestedControl.mask
  box.setControl('nestedControl', n.NP_ENABLE | n.SEV_ENABLE | (mode === 'sev' ? 0n : n.SEV_ES_ENABLE))
  box.setControl('virtualizationControl', 1)
  box.setControl('nestedCr3', box.nested.root)
  box.setControl('iopmBasePa', HOST.iopm)
  box.setControl('msrpmBasePa', HOST.msrpm)
  box.setControl('vmsaPa', HOST.vmsa)
  box.intercept('intercept4', Intercept4.mask.VMRUN)
  box.intercept('intercept3', Intercept3.mask.SHUTDOWN | Intercept3.mask.HLT)
}

function setUpRegisters(box: SevBox, features: bigint): void {
  const at = (field: VmsaField): number => HOST.vmsa + Vmsa.offset[field]
  const word = (address: number, value: bigint): void => {
    box.memory.write(address, new Uint8Array(BigUint64Array.of(value).buffer), ASID)
  }
  word(at('cs'), segment(8, CODE))
  for (const field of ['ss', 'ds', 'es', 'fs', 'gs'] as const) word(at(field), segment(16, DATA))
  word(at('tr'), segment(0, ATTR.P | 11))
  for (const [field, base] of [['gdtr', GUEST.gdt], ['idtr', GUEST.idt]] as const) {
    word(at(field), 0xfffn << 32n)
    word(at(field) + 8, BigInt(base))
  }
  const values: Partial<Record<VmsaField, bigint | number>> = {
    cr0: (CR0_BITS.PE | CR0_BITS.PG | CR0_BITS.WP | CR0_BITS.ET | CR0_BITS.NE) >>> 0, cr3: BigInt(GUEST.tables) | C_BIT,
    cr4: CR4_BITS.PAE | CR4_BITS.OSFXSR, rflags: 2, rip: GUEST.code, rsp: GUEST.stack, dr6: 0xffff_0ff0, dr7: 0x400,
    efer: EFER_BITS.LME | EFER_BITS.LMA | EFER_BITS.NXE | EFER_BITS.SVME | EFER_BITS.SCE, gPat: 0x0007_0406_0007_0406n,
    xcr0: 1, mxcsr: 0x1f80, x87Fcw: 0x37f, x87Ftw: 0xffff, sevFeatures: features,
  }
  for (const [field, value] of Object.entries(values)) box.setState(field as VmsaField, value)
}

/** SEV without encrypted state has the same fields in the VMCB, in the clear. */
function copyToVmcb(memory: PhysicalMemory): void {
  const bytes = new Uint8Array(0x300)
  memory.read(HOST.vmsa, bytes, ASID)
  memory.write(HOST.vmcb + 0x400, bytes)
}
