/** The registers that gdb sees, in the order of the target description. */
import { state } from '@cofferdam/x86'
import type { Processor } from '@cofferdam/x86'

const {
  CR0, CR2, CR3, CR4, EFER, FCS, FCW, FDP, FDS, FIP, FOP, FPR, FSW, FTW, GPR, MSR_KERNEL_GS_BASE, MXCSR, SEG, SEG_BASE,
  SEG_SIZE, XMM,
} = state

/** One register: its size and where it is. Values travel as bytes, lowest first. */
export interface GdbRegister {
  readonly name: string
  readonly bits: 32 | 64 | 80 | 128
  readonly type: string
  read(processor: Processor): Uint8Array
  /** Absent: it cannot be written. */
  write?(processor: Processor, bytes: Uint8Array): void
}

/** Registers that belong together, by the name that gdb knows them by. */
export interface GdbFeature {
  readonly name: string
  readonly registers: readonly GdbRegister[]
}

const FLAGS_WRITABLE = 0x3f_7fd5

function fromNumber(value: number, size: number): Uint8Array {
  const bytes = new Uint8Array(size)
  new DataView(bytes.buffer).setUint32(0, value, true)
  return bytes
}
const toNumber = (bytes: Uint8Array): number => new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true)
const toBigInt = (bytes: Uint8Array): bigint => new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true)

/** A register that is bytes of the processor's state; `changed` says what follows from a write. */
function plain(
  name: string, bits: GdbRegister['bits'], type: string, at: number, changed?: (processor: Processor) => void,
): GdbRegister {
  const size = bits / 8
  return {
    name, bits, type,
    read: ({ cpu }) => cpu.views.u8.slice(at, at + size),
    write(processor, bytes) {
      processor.cpu.views.u8.set(bytes.subarray(0, size), at)
      changed?.(processor)
    },
  }
}

const readOnly = ({ name, bits, type, read }: GdbRegister): GdbRegister => ({ name, bits, type, read })

const general = (name: string, number: number): GdbRegister =>
  plain(name, 64, name === 'rsp' || name === 'rbp' ? 'data_ptr' : 'int64', GPR + number * 8)

const rip: GdbRegister = {
  name: 'rip', bits: 64, type: 'code_ptr',
  read: ({ cpu }) => new Uint8Array(BigUint64Array.of(BigInt.asUintN(64, cpu.rip())).buffer),
  write: (processor, bytes) => { processor.setRip(toBigInt(bytes)) },
}

const eflags: GdbRegister = {
  name: 'eflags', bits: 32, type: 'i386_eflags',
  read: ({ cpu }) => fromNumber(cpu.getFlags(), 4),
  write: ({ cpu }, bytes) => { cpu.setFlags(toNumber(bytes), FLAGS_WRITABLE) },
}

/** A selector alone would not say what the segment is: it is read only. */
const selector = (name: string, number: number): GdbRegister => ({
  name, bits: 32, type: 'int32',
  read: ({ cpu }) => fromNumber(cpu.views.u16[(SEG + number * SEG_SIZE) >>> 1], 4),
})

/** A word of the x87 environment that is 32 bits for gdb. */
const environment = (name: string, at: number): GdbRegister => plain(name, 32, 'int', at)

/** ST(n): a register by its place on the stack. */
const stack = (n: number): GdbRegister => {
  const address = (processor: Processor): number => {
    const top = (processor.cpu.views.i32[FSW >>> 2] >> 11) & 7
    return FPR + ((top + n) & 7) * 16
  }
  return {
    name: `st${n}`, bits: 80, type: 'i387_ext',
    read: (processor) => processor.cpu.views.u8.slice(address(processor), address(processor) + 10),
    write: (processor, bytes) => { processor.cpu.views.u8.set(bytes.subarray(0, 10), address(processor)) },
  }
}

/** The tag word in full: gdb wants two bits a register. */
const tags: GdbRegister = {
  name: 'ftag', bits: 32, type: 'int',
  read({ cpu }) {
    const abridged = cpu.views.i32[FTW >>> 2]
    let full = 0
    for (let n = 0; n < 8; n++) if (((abridged >> n) & 1) === 0) full |= 3 << (2 * n)
    return fromNumber(full, 4)
  },
}

const segmentBase = (name: string, number: number): GdbRegister =>
  plain(name, 64, 'int64', SEG + number * SEG_SIZE + SEG_BASE)

const control = (name: string, at: number): GdbRegister => readOnly(plain(name, 64, 'int64', at))

const GENERAL = [
  ['rax', 0], ['rbx', 3], ['rcx', 1], ['rdx', 2], ['rsi', 6], ['rdi', 7], ['rbp', 5], ['rsp', 4],
] as const
const eight = [0, 1, 2, 3, 4, 5, 6, 7]
const sixteen = [...eight, ...eight.map((n) => n + 8)]

/** All of them ("Debugging with GDB", appendix G.5.5, i386 features). */
export const gdbFeatures: readonly GdbFeature[] = [
  {
    name: 'org.gnu.gdb.i386.core',
    registers: [
      ...GENERAL.map(([name, n]) => general(name, n)),
      ...eight.map((n) => general(`r${n + 8}`, n + 8)),
      rip, eflags,
      selector('cs', 1), selector('ss', 2), selector('ds', 3), selector('es', 0), selector('fs', 4), selector('gs', 5),
      ...eight.map(stack),
      environment('fctrl', FCW), environment('fstat', FSW), tags,
      environment('fiseg', FCS), environment('fioff', FIP), environment('foseg', FDS), environment('fooff', FDP),
      environment('fop', FOP),
    ],
  },
  {
    name: 'org.gnu.gdb.i386.sse',
    registers: [
      ...sixteen.map((n) => plain(`xmm${n}`, 128, 'vec128', XMM + n * 16)),
      plain('mxcsr', 32, 'int', MXCSR),
    ],
  },
  { name: 'org.gnu.gdb.i386.segments', registers: [segmentBase('fs_base', 4), segmentBase('gs_base', 5)] },
  {
    name: 'org.cofferdam.system',
    registers: [
      plain('k_gs_base', 64, 'int64', MSR_KERNEL_GS_BASE),
      control('cr0', CR0), control('cr2', CR2), control('cr3', CR3), control('cr4', CR4), control('efer', EFER),
    ],
  },
]

/** All registers by gdb's number. */
export const gdbRegisters: readonly GdbRegister[] = gdbFeatures.flatMap(({ registers }) => registers)

const describe = ({ name, registers }: GdbFeature): string => [
  `<feature name="${name}">`,
  ...(name.endsWith('.sse') ? ['<vector id="vec128" type="uint8" count="16"/>'] : []),
  ...(name.endsWith('.core') ? ['<flags id="i386_eflags" size="4"><field name="CF" start="0" end="0"/>'
    + '<field name="PF" start="2" end="2"/><field name="AF" start="4" end="4"/><field name="ZF" start="6" end="6"/>'
    + '<field name="SF" start="7" end="7"/><field name="TF" start="8" end="8"/><field name="IF" start="9" end="9"/>'
    + '<field name="DF" start="10" end="10"/><field name="OF" start="11" end="11"/></flags>'] : []),
  ...registers.map((r) => `<reg name="${r.name}" bitsize="${r.bits}" type="${r.type}"/>`),
  '</feature>',
].join('\n')

/** The target description that gdb reads. */
export const targetXml: string = [
  '<?xml version="1.0"?>', '<!DOCTYPE target SYSTEM "gdb-target.dtd">',
  '<target version="1.0">', '<architecture>i386:x86-64</architecture>', ...gdbFeatures.map(describe), '</target>', '',
].join('\n')
