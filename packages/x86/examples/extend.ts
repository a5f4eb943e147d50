// An extension: VMFUNC, which processors without VMX have no meaning for, multiplies by a register of its own.
import { createPhysicalMemory } from '@cofferdam/memory'
import {
  ATTR, attachExtensions, createCpuSystem, createEngine, createPlainApic, createProcessor, engineOverhead, epycGenoa,
  extendedMeanings, extendedMsrs, extendSystem, flatTopology, held, hotForms, loadState, resetCpu, saveState, state,
} from '@cofferdam/x86'
import type { Extension } from '@cofferdam/x86'

const FACTOR = 0x4000_0100
const multiply: Extension = {
  name: 'multiply',
  meanings: {
    vmfunc: (cpu) => {
      const rax = state.GPR >>> 3
      cpu.views.u64[rax] = BigInt.asUintN(64, cpu.views.u64[rax] * (cpu.system?.held.get(FACTOR) ?? 1n))
    },
  },
  msrs: () => [held(FACTOR, 'FACTOR', { initial: 1n })],
  leaves: () => [[0x4000_0100, (_system, _subleaf, out) => { out[0] = 1 }]],
  attach: (processor) => { console.log(`processor ${processor.index} can multiply`) },
}

const memory = createPhysicalMemory({ ram: [{ start: 0, length: 2 ** 20 }], overhead: engineOverhead(1) })
const extensions = [multiply]
const engine = createEngine({ memory, processors: 1, meanings: extendedMeanings(extensions), hotForms })
const msrs = extendedMsrs(epycGenoa, extensions)
const processor = createProcessor({
  engine, index: 0, physicalBits: epycGenoa.physicalBits,
  system: extendSystem(createCpuSystem({
    model: epycGenoa, topology: flatTopology(1), index: 0, apic: createPlainApic(), msrs,
  }), extensions),
  host: { portRead: () => 0, portWrite: () => undefined, random64: () => 4n, externalVector: () => -1 },
  acknowledge: () => -1,
  attend: () => undefined,
})
attachExtensions(processor, memory, extensions)

memory.write(0x1000, Uint8Array.of(
  0xb9, 0, 1, 0, 0x40, 0xb8, 7, 0, 0, 0, 0x31, 0xd2, 0x0f, 0x30, // mov ecx,FACTOR; mov eax,7; xor edx,edx; wrmsr
  0xb8, 6, 0, 0, 0, 0x0f, 0x01, 0xd4, 0xf4, //                      mov eax,6; vmfunc; hlt
))
processor.activate()
resetCpu(processor.cpu)
const flat = { selector: 8, attributes: ATTR.P | ATTR.S | ATTR.DB | 3, limit: 0xffff_ffff, base: 0n }
const none = { selector: 0, attributes: 0, limit: 0, base: 0n }
loadState(processor, {
  registers: {}, rip: 0x1000n, rflags: 2n, cr0: 0x11n, cr3: 0n, cr4: 0n, efer: 0n,
  gdtr: { base: 0n, limit: 0 }, idtr: { base: 0n, limit: 0 },
  segments: {
    cs: { ...flat, attributes: flat.attributes | 8 },
    ds: flat, es: flat, ss: flat, fs: flat, gs: flat, ldtr: none, tr: none,
  },
})
processor.run(100)
console.log(`6 × 7 = ${saveState(processor).registers.rax}`)
