// Decodes and runs 20 bytes in long mode: the 90th Fibonacci number.
import { createPhysicalMemory } from '@cofferdam/memory'
import { createPageTables } from '@cofferdam/paging'
import {
  ATTR, configureModel, CR0_BITS, CR4_BITS, createCpuSystem, createEngine, createInsn, createMsrTable, createPlainApic,
  createProcessor, decode, EFER_BITS, engineOverhead, flatTopology, hotForms, loadState, MODE64, OPS, resetCpu,
  sapphireRapids, saveState, standardMeanings,
} from '@cofferdam/x86'

const code = Uint8Array.of(
  0x48, 0x31, 0xc0, //             xor rax, rax
  0xba, 1, 0, 0, 0, //             mov edx, 1
  0xb9, 90, 0, 0, 0, //            mov ecx, 90
  0x48, 0x0f, 0xc1, 0xd0, // next: xadd rax, rdx
  0xe2, 0xfa, //                   loop next
  0xf4, //                         hlt
)
const insn = createInsn()
for (let at = 0; at < code.length; at += insn.len) {
  decode(code, at, code.length, MODE64, insn)
  console.log(`${at.toString().padStart(2)}  ${insn.len} bytes  ${OPS[insn.op]}`)
}

// 4 MiB of RAM: the code at 64 KiB, tables that map all of it to itself from 1 MiB.
const memory = createPhysicalMemory({ ram: [{ start: 0, length: 4 * 2 ** 20 }], overhead: engineOverhead(1) })
memory.write(0x1_0000, code)
let free = 0x10_0000
const load64 = (at: number): bigint => {
  const word = new BigUint64Array(1)
  memory.read(at, new Uint8Array(word.buffer))
  return word[0]
}
const store64 = (at: number, value: bigint): void => {
  memory.write(at, new Uint8Array(BigUint64Array.of(value).buffer))
}
const tables = createPageTables({ levels: 4, memory: { allocate: () => (free += 4096) - 4096, load64, store64 } })
tables.map({ from: 0, length: 4 * 2 ** 20 })

const model = configureModel(sapphireRapids)
const engine = createEngine({ memory, processors: 1, meanings: standardMeanings, hotForms })
const processor = createProcessor({
  engine, index: 0, physicalBits: model.physicalBits,
  system: createCpuSystem({
    model, topology: flatTopology(1), index: 0, apic: createPlainApic(), msrs: createMsrTable(model),
  }),
  host: { portRead: () => 0, portWrite: () => undefined, random64: () => 4n, externalVector: () => -1 },
  acknowledge: () => -1,
  attend: () => undefined,
})
processor.activate()
resetCpu(processor.cpu)
const flat = { selector: 0x10, attributes: ATTR.P | ATTR.S | ATTR.DB | 3, limit: 0xffff_ffff, base: 0n }
const none = { selector: 0, attributes: 0, limit: 0, base: 0n }
loadState(processor, {
  registers: {}, rip: 0x1_0000n, rflags: 2n, cr3: BigInt(tables.root),
  cr0: BigInt((CR0_BITS.PE | CR0_BITS.PG) >>> 0), cr4: BigInt(CR4_BITS.PAE),
  efer: BigInt(EFER_BITS.LME | EFER_BITS.LMA),
  gdtr: { base: 0n, limit: 0 }, idtr: { base: 0n, limit: 0 },
  segments: {
    cs: { ...flat, selector: 8, attributes: ATTR.P | ATTR.S | ATTR.L | 0xb },
    ds: flat, es: flat, ss: flat, fs: flat, gs: flat, ldtr: none, tr: none,
  },
})

const retired = processor.run(1000)
const { registers, rip } = saveState(processor)
console.log(`${retired} instructions, halted: ${processor.halted}, rip 0x${rip.toString(16)}, rax ${registers.rax}`)
