/** Counters, gathered when somebody asks. */
import type { PhysicalMemory } from '@cofferdam/memory'
import type { MachineStats } from './options.ts'
import type { Processors } from './processors.ts'
import type { RunLoop } from './run-loop.ts'

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)

/** Counters of a machine, of all its processors together and of each. */
export function collectStats(memory: PhysicalMemory, processors: Processors, loop: RunLoop): MachineStats {
  const { seats, engine } = processors
  const each = seats.map(({ processor }) => ({ ...processor.counts, tlbMisses: processor.mmu.misses }))
  const total = (counter: keyof (typeof each)[number]): number => sum(each.map((counts) => counts[counter]))
  return {
    instructions: loop.retired(),
    virtualTime: loop.now(),
    memoryBacked: memory.backedBytes(),
    exits: {
      host: total('host'), exceptions: total('faults'), interrupts: total('interrupts'), lookups: total('lookups'),
      links: total('links'), steps: total('steps'), pauses: total('pauses'),
    },
    tlbMisses: total('tlbMisses'),
    decodedBlocks: total('translated'),
    jit: engine.jit?.counts ?? null,
    processors: each,
  }
}
