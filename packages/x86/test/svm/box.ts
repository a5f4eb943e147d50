/** A guest in 64-bit mode on nested tables, and a host in TypeScript: for tests of SVM. */
import { createPageTables } from '@cofferdam/paging'
import type { PageTables } from '@cofferdam/paging'
import { Intercept4, NestedControl, VmcbControl, VmcbSave, VMCB_SAVE_OFFSET } from '@cofferdam/spec'
import { ATTR, CR0_BITS, CR4_BITS, createSvmExtension, EFER_BITS, epycGenoa } from '../../src/index.ts'
import type { Svm, SvmExtension, SvmRun } from '../../src/index.ts'
import { assemble } from '../engine/assemble.ts'
import { createBare } from '../engine/bare.ts'
import type { Bare, BareOptions } from '../engine/bare.ts'

/** System physical addresses: the guest's memory, and the host's structures for it. */
export const HOST = {
  vmcb: 0x60_0000, iopm: 0x61_0000, msrpm: 0x62_0000, tables: 0x64_0000, save: 0x63_0000, guest: 0x20_0000,
} as const
/** Guest physical addresses; the guest has 1 MiB, mapped to itself in 4 KiB pages. */
export const GUEST = {
  code: 0x1000, stack: 0x8000, data: 0x9000, idt: 0xa000, gdt: 0xb000, handler: 0xc000, tables: 0x1_0000,
  size: 0x10_0000,
} as const
/** RWX entries: where a test takes rights away. */
export const SELECTOR = { code: 8, data: 16 } as const

const CODE = ATTR.P | ATTR.S | ATTR.L | 0xb
const DATA = ATTR.P | ATTR.S | ATTR.DB | 3

export type ControlField = keyof typeof VmcbControl.offset
export type SaveField = keyof typeof VmcbSave.offset

export interface Box {
  readonly bare: Bare
  readonly svm: Svm
  readonly extension: SvmExtension
  readonly nested: PageTables
  /** Writes a program to the guest, at `GUEST.code` unless said otherwise; answers its labels. */
  program(text: string, at?: number): ReadonlyMap<string, number>
  /** A field of the VMCB's control area, and of its save area (registers). */
  control(field: ControlField): bigint
  setControl(field: ControlField, value: bigint | number): void
  state(field: SaveField): bigint
  setState(field: SaveField, value: bigint | number): void
  /** Sets bits of a field. */
  intercept(field: ControlField, bits: number): void
  /** The guest's memory. */
  peek(gpa: number, size: 1 | 2 | 4 | 8): bigint
  poke(gpa: number, value: bigint | number, size?: 1 | 2 | 4 | 8): void
  /** A gate of the guest's IDT to `handler`; handlers are interrupt gates, for CPL `dpl` and lower. */
  gate(vector: number, handler: number, dpl?: number): void
  run(instructions?: number): SvmRun
  /** Runs to the next exit. */
  exit(): Extract<SvmRun, { exit: 'vmexit' }>
}

/** Creates a box whose guest starts at `GUEST.code` in 64-bit mode, with its VMRUN intercept and nested paging set. */
export function createBox(options: Partial<BareOptions> = {}, extension: SvmExtension = createSvmExtension()): Box {
  const bare = createBare({
    width: 64, ramBytes: 2 ** 23, model: epycGenoa, ...options, extensions: [extension, ...(options.extensions ?? [])],
  })
  const { memory } = bare
  const word = (at: number): bigint => bare.peek(at, 8)
  let free: number = HOST.tables
  const nested = createPageTables({
    levels: 4,
    memory: { allocate: () => (free += 4096) - 4096, load64: word, store64: (at, value) => { bare.poke64(at, value) } },
  })
  nested.map({ from: 0, to: HOST.guest, length: GUEST.size, user: true, largest: 12 })
  buildGuest(bare)
  const at = (name: string, offset: number, size: number): { address: number; size: 1 | 2 | 4 | 8 } =>
    ({ address: HOST.vmcb + offset, size: size as 1 | 2 | 4 | 8 })
  const control = (field: ControlField) => at(field, VmcbControl.offset[field], VmcbControl.fields[field][1])
  const save = (field: SaveField) => at(field, VMCB_SAVE_OFFSET + VmcbSave.offset[field], VmcbSave.fields[field][1])
  const store = (place: { address: number; size: number }, value: bigint | number): void => {
    const bytes = new Uint8Array(BigUint64Array.of(BigInt.asUintN(64, BigInt(value))).buffer)
    memory.write(place.address, bytes.subarray(0, place.size))
  }
  const svm = extension.svmOf(bare.processor.cpu)
  const box: Box = {
    bare, svm, extension, nested,
    program(text, gpa = GUEST.code) {
      const { bytes, labels } = assemble(gpa, text)
      memory.write(HOST.guest + gpa, bytes)
      return labels
    },
    control: (field) => bare.peek(control(field).address, control(field).size),
    setControl: (field, value) => { store(control(field), value) },
    state: (field) => bare.peek(save(field).address, save(field).size),
    setState: (field, value) => { store(save(field), value) },
    intercept(field, bits) { store(control(field), box.control(field) | BigInt(bits >>> 0)) },
    peek: (gpa, size) => bare.peek(HOST.guest + gpa, size),
    poke: (gpa, value, size = 8) => { store({ address: HOST.guest + gpa, size }, value) },
    gate(vector, handler, dpl = 0) {
      box.poke(GUEST.idt + vector * 16, BigInt(handler & 0xffff) | (BigInt(SELECTOR.code) << 16n)
        | (BigInt(0x8e00 | (dpl << 13)) << 32n) | (BigInt(handler >>> 16) << 48n))
      box.poke(GUEST.idt + vector * 16 + 8, 0)
    },
    run: (instructions = 10_000) => svm.vmrun(HOST.vmcb, instructions),
    exit() {
      const run = box.run()
      if (run.exit !== 'vmexit') throw new Error(`no exit after ${run.retired}, at ${bare.rip().toString(16)}`)
      return run
    },
  }
  setUp(box, bare)
  return box
}

/** The guest's own tables and descriptors. */
function buildGuest(bare: Bare): void {
  let free: number = GUEST.tables
  const tables = createPageTables({
    levels: 4,
    memory: {
      allocate: () => (free += 4096) - 4096,
      load64: (gpa) => bare.peek(HOST.guest + gpa, 8),
      store64: (gpa, value) => { bare.poke64(HOST.guest + gpa, value) },
    },
  })
  tables.map({ from: 0, length: GUEST.size, largest: 12 })
  bare.poke64(HOST.guest + GUEST.gdt + SELECTOR.code, 0x00af_9b00_0000_ffffn)
  bare.poke64(HOST.guest + GUEST.gdt + SELECTOR.data, 0x00cf_9300_0000_ffffn)
}

function setUp(box: Box, bare: Bare): void {
  const segment = (field: SaveField, selector: number, attributes: number): void => {
    const at = HOST.vmcb + VMCB_SAVE_OFFSET + VmcbSave.offset[field]
    bare.poke64(at, BigInt(selector) | (BigInt(attributes) << 16n) | (0xffff_ffffn << 32n))
    bare.poke64(at + 8, 0n)
  }
  const table = (field: SaveField, base: number, limit: number): void => {
    const at = HOST.vmcb + VMCB_SAVE_OFFSET + VmcbSave.offset[field]
    bare.poke64(at, BigInt(limit) << 32n)
    bare.poke64(at + 8, BigInt(base))
  }
  box.setControl('guestAsid', 1)
  box.setControl('nestedControl', NestedControl.mask.NP_ENABLE)
  box.setControl('nestedCr3', box.nested.root)
  box.setControl('iopmBasePa', HOST.iopm)
  box.setControl('msrpmBasePa', HOST.msrpm)
  box.intercept('intercept4', Intercept4.mask.VMRUN)
  segment('cs', SELECTOR.code, CODE)
  for (const field of ['ss', 'ds', 'es', 'fs', 'gs'] as const) segment(field, SELECTOR.data, DATA)
  segment('tr', 0, ATTR.P | 11)
  table('gdtr', GUEST.gdt, 0x17)
  table('idtr', GUEST.idt, 0xfff)
  box.setState('cr0', (CR0_BITS.PE | CR0_BITS.PG | CR0_BITS.WP | CR0_BITS.ET | CR0_BITS.NE) >>> 0)
  box.setState('cr3', GUEST.tables)
  box.setState('cr4', CR4_BITS.PAE | CR4_BITS.OSFXSR)
  box.setState('efer', EFER_BITS.LME | EFER_BITS.LMA | EFER_BITS.NXE | EFER_BITS.SVME | EFER_BITS.SCE)
  box.setState('rflags', 2)
  box.setState('rip', GUEST.code)
  box.setState('rsp', GUEST.stack)
  box.setState('dr6', 0xffff_0ff0)
  box.setState('dr7', 0x400)
  box.setState('gPat', 0x0007_0406_0007_0406n)
  box.svm.vmload(HOST.vmcb)
}
