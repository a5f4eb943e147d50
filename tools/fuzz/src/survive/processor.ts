/** Random bytes in every mode: no exception of ours, no hang, and every engine does the same. */
import { createRandom } from '@cofferdam/oracle'
import { arenasDiffer, createArena, type Arena } from './arena.ts'
import { createCodeWriter, type CodeWriter } from './code.ts'
import { AT, CODE_BYTES } from './layout.ts'
import { start, widthOf } from './modes.ts'
import { fillSystemCode } from './system-code.ts'

export interface Survived {
  /** What went wrong, or null. */
  readonly problem: string | null
  /** For a person: the kind of case, and how it ended. */
  readonly ended: string
}

export interface Survivor {
  /** Runs case `number` of a seed. */
  run(seed: number, number: number): Survived
}

/** One whose cases wait for something. */
export interface LateSurvivor {
  run(seed: number, number: number): Promise<Survived>
}

const SLICES = 6
const SLICE = 400

/** A seed of one case. */
export const caseSeed = (seed: number, number: number): number =>
  Math.imul(seed ^ Math.imul(number + 1, 0x9e37_79b1), 0x85eb_ca6b) >>> 1

export interface SurvivorOptions {
  /** The system's registers and tables are what changes most. */
  readonly system: boolean
}

export function createProcessorSurvivor({ system }: SurvivorOptions = { system: false }): Survivor {
  let writer: { seed: number; code: CodeWriter } | null = null
  const code = new Uint8Array(CODE_BYTES)
  const makeArenas = (): Record<'intel' | 'amd', Arena[]> => ({
    intel: [createArena({ engine: 'interp', cpu: 'intel' }), createArena({ engine: 'jit', cpu: 'intel' })],
    amd: [createArena({ engine: 'interp', cpu: 'amd' }), createArena({ engine: 'jit', cpu: 'amd' })],
  })
  let arenas = makeArenas()

  const runIn = (arena: Arena, seed: number, writer: CodeWriter): string => {
    const random = createRandom(seed)
    arena.begin(seed)
    const { state, extra, mode } = start(random, arena.memory, system)
    writer.fill(random, code)
    if (system) fillSystemCode(random, code.subarray(0, 128 + random.below(1024)), widthOf(mode), arena.msrs)
    arena.memory.write(AT.code, code)
    for (let at = AT.data; at < AT.data + 0x1000; at += 8) {
      const word = random.below(4) === 0 ? random.u64() : BigInt(random.below(0x2_0000))
      arena.memory.write(at, new Uint8Array(BigUint64Array.of(word).buffer))
    }
    arena.load(state, extra)
    for (let slice = 0; slice < SLICES && arena.processor.stopped === ''; slice++) {
      if (random.below(3) === 0) {
        arena.interrupt([32 + random.below(224)])
        if (arena.processor.halted && arena.processor.wakes()) arena.processor.halted = true
      }
      const wanted = 1 + random.below(SLICE)
      const done = arena.run(wanted)
      if (done > wanted) throw new Error(`${done} instructions of ${wanted} were retired`)
      if (arena.processor.halted && !arena.processor.wakes()) break
    }
    return `${mode}: ${arena.processor.stopped !== '' ? 'shutdown' : arena.processor.halted ? 'halted' : 'running'}`
  }

  return {
    run(seed, number) {
      const one = caseSeed(seed, number)
      const pair = arenas[one % 4 === 0 ? 'amd' : 'intel']
      if (writer?.seed !== seed) writer = { seed, code: createCodeWriter(seed) }
      let ended = ''
      try {
        for (const arena of pair) ended = runIn(arena, one, writer.code)
        const different = arenasDiffer(pair[0], pair[1])
        return { ended, problem: different === null ? null : `engines differ: ${different}` }
      } catch (error) {
        arenas = makeArenas()
        return { ended: 'exception', problem: (error as Error).stack ?? String(error) }
      }
    },
  }
}
