/**
 * What all processors of a machine share: the generated interpreter, cold functions, the code cache. Processors take
 * turns; the one that runs has its state at the fixed addresses of `state.ts`.
 */
import type { PhysicalMemory } from '@cofferdam/memory'
import type { Meaning } from '../cpu.ts'
import type { Insn } from '../insn.ts'
import { HOT, HOT_END } from '../state.ts'
import { CodeCacheFull, createCodeCache } from './code-cache.ts'
import type { CodeCache } from './code-cache.ts'
import { createFormTable } from './form-table.ts'
import type { FormTable } from './form-table.ts'
import type { InterpreterLayout } from './interpreter.ts'
import type { Mmu } from './mmu-types.ts'
import { modulesFor } from './modules.ts'
import { createOpenBus, OPEN_BUS_OVERHEAD } from './open-bus.ts'
import type { OpenBus } from './open-bus.ts'
import { createTranslator } from './translate.ts'
import type { Translator } from './translate.ts'
import { createJit } from '../jit/jit.ts'
import type { Jit } from '../jit/jit.ts'
import { HANDLER, JUMP_CACHE_ENTRIES } from './uop.ts'

/** In which memory instructions run, what they mean, and how they run. */
export interface EngineOptions {
  readonly memory: PhysicalMemory
  readonly processors: number
  /** Meanings in TypeScript; an extension's come first in whatever it passes here. */
  readonly meanings: (insn: Insn) => Meaning | undefined
  /** Names of the forms that get handlers in the dispatch function; the default list comes from profiles of boots. */
  readonly hotForms: readonly string[]
  /** Whether hot code is compiled: never, as usual, or eagerly (for tests). Default `auto`. */
  readonly engine?: 'interp' | 'jit' | 'auto'
  /** Entries that make a block hot, for tests that want code compiled at once; default as `engine` says. */
  readonly threshold?: number
  /** Bytes for micro-ops; default 64 MiB. */
  readonly uopBytes?: number
}

/** Bytes of WebAssembly memory that the engine takes for `processors` processors, besides RAM. */
export function engineOverhead(processors: number, uopBytes = DEFAULT_UOP_BYTES): number {
  return 2 ** 20 + OPEN_BUS_OVERHEAD + uopBytes + wordBytes(processors)
    + JUMP_CACHE_ENTRIES * 16 + processors * (2 ** 19 + 2 ** 17 + 4096)
}

const DEFAULT_UOP_BYTES = 64 * 2 ** 20
const CODE_PAGES = 32768
const wordBytes = (processors: number): number => CODE_PAGES * processors * 4
const TABLE_SIZE = 16384
/** The table's first slots are cold functions, the others compiled regions. */
const FORM_SLOTS = 8192
/** Entries that make a block hot. */
const THRESHOLDS = { interp: 0, jit: 32, auto: 24_000 } as const

/** What the processors of a machine share: instruction handlers, decoded and compiled code. */
export interface Engine {
  readonly memory: PhysicalMemory
  readonly cache: CodeCache
  readonly forms: FormTable
  readonly translator: Translator
  readonly openBus: OpenBus
  readonly jumpCache: number
  /** The TypeScript meaning of an instruction, or undefined. */
  readonly meaningOf: (insn: Insn) => Meaning | undefined
  readonly jit: Jit | null
  /** The mmu of the processor that runs: what generated code's imports go to. */
  current: Mmu | null
  /** The mmus of all processors. */
  readonly mmus: Mmu[]
  /** The state that is at the fixed addresses: its owner's save area, or 0. */
  resident: number
  run(pc: number, budget: number): void
  flagImage(): number
  /** Makes the state saved at `area` the one at the fixed addresses. */
  makeResident(area: number): void
  /** Forgets all decoded code, but not which translations processors remember: software sees no difference. */
  flushCode(): void
}

interface InterpreterExports {
  run(pc: number, budget: number): void
  flagImage(): number
  [name: string]: unknown
}

/** Generates the interpreter for a machine; processors are made on it by {@link createProcessor}. */
export function createEngine(options: EngineOptions): Engine {
  const { memory, processors } = options
  const { u8, i64 } = memory.views
  const jumpCache = memory.reserve(JUMP_CACHE_ENTRIES * 16)
  const cache = createCodeCache({
    memory, processors, uopBytes: options.uopBytes ?? DEFAULT_UOP_BYTES, wordBytes: wordBytes(processors),
    onCodePage: (page) => { for (const mmu of engine.mmus) mmu.dropWrites(page) },
  })
  const pages = memory.wasm.buffer.byteLength / 65536
  const table = new WebAssembly.Table({ element: 'anyfunc', initial: TABLE_SIZE, maximum: TABLE_SIZE })
  const layout: InterpreterLayout = { jumpCache, memoryPages: pages, tableSize: TABLE_SIZE }

  // CMPS reads two pages, which may need the same TLB entry: only cold functions do without both at once.
  const hotForms = options.hotForms.filter((name) => !name.startsWith('cmps.'))
  const modules = modulesFor(layout, hotForms)
  const interpreter = new WebAssembly.Instance(modules.interpreter(hotForms), {
    env: {
      memory: memory.wasm, table,
      miss: (low: number, high: number, info: number): number => engine.current?.miss(low, high, info) ?? 0,
    },
  }).exports as unknown as InterpreterExports

  const coldImports = {
    env: {
      ...interpreter,
      memory: memory.wasm,
      slow: (low: number, high: number, info: number): number => engine.current?.slow(low, high, info) ?? 0,
      slowBulk: (moves: number, size: number): number => (engine.current?.bulk(moves === 1, size) === true ? 1 : 0),
      slowCommit: (size: number): void => { engine.current?.commit(size) },
    } as unknown as WebAssembly.ModuleImports,
  }
  /** Most forms' cold functions are never wanted: they have handlers, and hit the TLB. */
  const compileCold = (number: number): void => {
    table.set(number, new WebAssembly.Instance(modules.cold(forms.forms[number]), coldImports).exports.cold)
  }
  const { uncompiled } = new WebAssembly.Instance(modules.uncompiled(), {
    env: { memory: memory.wasm, table, compileCold },
  }).exports
  const forms = createFormTable(hotForms, FORM_SLOTS, (number) => { table.set(number, uncompiled) })
  const openBus = createOpenBus(memory)
  const translator =
    createTranslator(memory.views, (page) => (page < 0 ? openBus.frameOf(page) : memory.backPage(page)), cache, forms)

  const lookup = memory.reserve(64)
  memory.views.u16[lookup >>> 1] = HANDLER.LOOKUP
  const engineKind = options.engine ?? 'auto'
  const threshold = engineKind === 'interp' ? 0 : options.threshold ?? THRESHOLDS[engineKind]
  const jit = threshold === 0 ? null : createJit({
    views: memory.views, wasm: memory.wasm, cache, translator, table, firstSlot: FORM_SLOTS, endSlot: TABLE_SIZE,
    jumpCache, lookup, memoryPages: pages, threshold,
  })
  if (threshold !== 0) translator.hotness = threshold

  const engine: Engine = {
    memory, cache, forms, translator, openBus, jumpCache, jit,
    meaningOf: options.meanings,
    current: null,
    mmus: [],
    resident: 0,
    run: interpreter.run,
    flagImage: interpreter.flagImage,
    makeResident(area) {
      if (engine.resident === area) return
      if (engine.resident !== 0) u8.copyWithin(engine.resident, HOT, HOT_END)
      u8.copyWithin(HOT, area, area + HOT_END - HOT)
      engine.resident = area
    },
    flushCode() {
      const fetches = engine.mmus.map((mmu) => mmu.fetches())
      jit?.reset()
      forms.makeRoom()
      cache.flush()
      clearJumpCache()
      try {
        engine.mmus.forEach((mmu, i) => { mmu.setFetches(fetches[i], cache.codePage) })
      } catch (error) {
        if (!(error instanceof CodeCacheFull)) throw error
        // Many processors that each remember thousands of pages of their own: they may forget.
        cache.flush()
        for (const mmu of engine.mmus) mmu.flush(true)
      }
    },
  }
  // A page that another key looks at has other bytes in its frame.
  memory.keys.onChange((page) => { for (const mmu of engine.mmus) mmu.dropPage(page) })
  // A tag of all ones is no RIP in any mode: salts leave bit 63 alone and set some, not all, of bits 62:57.
  const clearJumpCache = (): void => { i64.fill(-2n, jumpCache >>> 3, (jumpCache >>> 3) + JUMP_CACHE_ENTRIES * 2) }
  clearJumpCache()
  return engine
}
