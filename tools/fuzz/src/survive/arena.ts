/** A processor with two megabytes of memory that is thrown into one state after the other. */
import { createPhysicalMemory, type PhysicalMemory } from '@cofferdam/memory'
import { createRandom, type Random } from '@cofferdam/oracle'
import {
  APIC_EVENT, configureModel, createCpuSystem, createEngine, createLocalApic, createMsrTable, createProcessor,
  deliverInterrupt,
  engineOverhead, epycGenoa, flatTopology, loadState, resetCpu, sapphireRapids, standardMeanings, type Engine,
  type Processor, type ProcessorState,
} from '@cofferdam/x86'
import { S } from '../inside.ts'
import { RAM } from './layout.ts'

const PAGE = 4096
const UOP_BYTES = 8 * 2 ** 20

export interface Arena {
  readonly engine: Engine
  readonly processor: Processor
  readonly memory: PhysicalMemory
  /** The MSRs that the model has. */
  readonly msrs: readonly number[]
  /** Empties memory and resets the processor; what devices and the random number generator answer begins anew. */
  begin(seed: number): void
  load(state: ProcessorState, extra: ExtraState): void
  /** Requests interrupts with these vectors. */
  interrupt(vectors: readonly number[]): void
  run(instructions: number): number
}

/** State beside `ProcessorState`. */
export interface ExtraState {
  readonly xcr0: number
  readonly debug: readonly bigint[]
  readonly tss: number
}

export interface ArenaOptions {
  readonly engine: 'interp' | 'jit'
  readonly cpu: 'intel' | 'amd'
}

export function createArena(options: ArenaOptions): Arena {
  const memory = createPhysicalMemory({ ram: [{ start: 0, length: RAM }], overhead: engineOverhead(1, UOP_BYTES) })
  const engine = createEngine({
    memory, processors: 1, meanings: standardMeanings, hotForms: [], engine: options.engine, threshold: 2,
    uopBytes: UOP_BYTES,
  })
  const model = configureModel(options.cpu === 'amd' ? epycGenoa : sapphireRapids)
  let random: Random = createRandom(0)
  let pending: number[] = []
  /** Instructions of the slices before, and whether one runs. */
  let elapsed = 0
  let running = false
  const apic = createLocalApic({
    id: 0, bootstrap: true, physicalAddressBits: model.physicalBits,
    now: () => elapsed + (running ? processor.progress() : 0),
    send: () => undefined, eoiBroadcast: () => undefined, onChange: () => { refresh() },
    onBaseChange: () => { mapApic() },
  })
  const msrs = createMsrTable(model)
  const system = createCpuSystem({ model, topology: flatTopology(1), index: 0, msrs, apic })
  const processor: Processor = createProcessor({
    engine, index: 0, physicalBits: model.physicalBits, system,
    host: {
      portRead: (_port, size) => random.u32() >>> (32 - 8 * size), portWrite: () => undefined,
      random64: () => random.u64(), externalVector: () => -1,
    },
    acknowledge() {
      const vector = pending.shift() ?? ((apic.pendingEvents() & APIC_EVENT.FIXED) !== 0 ? apic.acknowledge() : -1)
      refresh()
      return vector
    },
    attend() {
      const { cpu } = processor
      if (apic.takeInit()) {
        resetCpu(cpu, true)
        processor.setRip(cpu.nextRip())
        mapApic()
      }
      apic.takeStartup()
      if (system.nmiBlocked || !apic.takeNmi()) return
      processor.halted = false
      cpu.setNextRip(cpu.rip())
      deliverInterrupt(cpu, 2)
      processor.setRip(cpu.nextRip())
    },
  })
  system.nmiUnblocked = () => { refresh() }

  function refresh(): void {
    const events = apic.pendingEvents()
    processor.setInterrupt(pending.length > 0 || (events & APIC_EVENT.FIXED) !== 0)
    if ((events & (APIC_EVENT.INIT | APIC_EVENT.STARTUP | APIC_EVENT.NMI)) !== 0) processor.setAttention()
  }
  function mapApic(): void {
    processor.mmu.local = apic.mode() === 'xapic' ? { page: apic.baseAddress() / PAGE, handlers: apic.mmio } : null
    processor.mmu.flush(true)
  }

  memory.mmio.attach({
    name: 'noise', start: 0xfed0_0000, length: 0x1_0000,
    handlers: { read: (_at, size) => random.u32() >>> (32 - 8 * size), write: () => undefined },
  })
  const { u32, u64 } = processor.cpu.views
  processor.activate()
  const first = processor.snapshot()
  return {
    engine, processor, memory, msrs: [...msrs.keys()],
    begin(seed) {
      random = createRandom(seed)
      pending = []
      elapsed = 0
      apic.reset()
      processor.activate()
      processor.restore(first)
      mapApic()
      engine.flushCode()
      for (let page = 0; page < RAM / PAGE; page++) {
        const word = memory.frameWord(page)
        if (word >= PAGE) processor.cpu.views.u8.fill(0, word & ~0xfff, (word & ~0xfff) + PAGE)
      }
      processor.setInterrupt(false)
      processor.setTime(0)
      resetCpu(processor.cpu)
      processor.halted = false
      processor.stopped = ''
    },
    load(state, { xcr0, debug, tss }) {
      u64[S.XCR0 >>> 3] = BigInt(xcr0)
      debug.forEach((value, n) => { u64[(S.DR >>> 3) + n] = value })
      loadState(processor, state)
      u32[(S.SEG + S.TR * S.SEG_SIZE) >>> 2] = 0x8b_0000 | tss
      processor.cpu.modeChanged()
    },
    interrupt(vectors) {
      pending.push(...vectors)
      refresh()
    },
    run(instructions) {
      apic.advance(elapsed)
      running = true
      const done = processor.run(instructions)
      running = false
      elapsed += done
      engine.jit?.flush()
      return done
    },
  }
}

/** What two arenas of the same case have different, or null. */
export function arenasDiffer(one: Arena, other: Arena): string | null {
  if (one.processor.stopped !== other.processor.stopped) {
    return `stopped: "${one.processor.stopped}" and "${other.processor.stopped}"`
  }
  if (one.processor.halted !== other.processor.halted) {
    return `halted: ${one.processor.halted} and ${other.processor.halted}`
  }
  const held = [one, other].map(({ processor }) => [...processor.cpu.system?.held ?? []]
    .map(([index, value]) => `${index.toString(16)}=${value.toString(16)}`).join(' '))
  if (held[0] !== held[1]) return `MSRs: ${held[0]} and ${held[1]}`
  const state = stateDiffers(one.processor, other.processor)
  if (state !== null) return state
  for (let page = 0; page < RAM / PAGE; page++) {
    const [a, b] = [one, other].map(({ memory }) => memory.frameWord(page) & ~0xfff)
    if (a === 0 && b === 0) continue
    if (a === 0 || b === 0) {
      const present = (a === 0 ? other : one).processor.cpu.views.u8
      if (present.subarray(a | b, (a | b) + PAGE).some((byte) => byte !== 0)) {
        return `memory: page ${page} is in one only`
      }
      continue
    }
    const [x, y] = [one.processor.cpu.views.u8, other.processor.cpu.views.u8]
    if (Buffer.compare(x.subarray(a, a + PAGE), y.subarray(b, b + PAGE)) === 0) continue
    const at = Array.from({ length: PAGE }, (_, i) => i).find((i) => x[a + i] !== y[b + i]) ?? 0
    return `memory at ${(page * PAGE + at).toString(16)}: ${x[a + at].toString(16)} and ${y[b + at].toString(16)}`
  }
  return null
}

/** Words of the state, by name: from, length in bytes. */
const STATE: readonly (readonly [string, number, number])[] = [
  ...['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15']
    .map((name, i) => [name, S.GPR + 8 * i, 8] as const),
  ['rip', S.RIP, 8], ['xmm', S.XMM, 256], ['ymm', S.YMMH, 256], ['mxcsr', S.MXCSR, 4], ['x87', S.FPR, 128],
  ['fcw', S.FCW, 4], ['fsw', S.FSW, 4], ['ftw', S.FTW, 4], ['fop', S.FOP, 4], ['fip', S.FIP, 16], ['cr0', S.CR0, 8],
  ['cr2', S.CR2, 8],
  ['cr3', S.CR3, 8], ['cr4', S.CR4, 8], ['efer', S.EFER, 8], ['xcr0', S.XCR0, 8], ['dr', S.DR, 64],
  ['segments', S.SEG, 128],
  ['gdtr', S.GDTR, 16], ['idtr', S.IDTR, 16], ['cpl', S.CPL, 4], ['count', S.ICOUNT, 8], ['msrs', S.MSR_STAR, 88],
]

function stateDiffers(one: Processor, other: Processor): string | null {
  const [a, b] = [one, other].map((processor) => {
    processor.activate()
    return processor.cpu.views.u8
  })
  const flags = [one, other].map(({ cpu }) => cpu.getFlags())
  if (flags[0] !== flags[1]) return `flags: ${flags[0].toString(16)} and ${flags[1].toString(16)}`
  for (const [name, at, length] of STATE) {
    const [x, y] = [a.subarray(at, at + length), b.subarray(at, at + length)]
    if (Buffer.compare(x, y) !== 0) return `${name}: ${hex(x)} and ${hex(y)}`
  }
  return null
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
