/** Writes the function of one region: structured control flow over its blocks, registers in locals, one way out. */
import {
  I32, I64, add, and, call, eq, eqz, i32, i64, load32, load64, local, ltS, or, sub, typeOf, wrap,
} from '../wasm/expr.ts'
import type { Expr } from '../wasm/expr.ts'
import { WasmFunction } from '../wasm/function.ts'
import type { Label } from '../wasm/function.ts'
import type { ModuleWriter } from '../wasm/module.ts'
import { BUDGET, CC_A, CC_B, CC_OP, CPU_SLOT, GPR, RIP, TLB_BASE } from '../state.ts'
import type { Block } from '../engine/code-cache.ts'
import { condition, flagImage, writeByKind } from '../engine/flags.ts'
import type { FlagSource } from '../engine/flags.ts'
import { wasmMeanings } from '../engine/meanings.ts'
import type { ExpandedInsn } from '../engine/translate.ts'

import { JitBuilder } from './jit-builder.ts'
import type { JitContext, JitInsn } from './jit-builder.ts'
import { structure } from './structure.ts'
import type { Structure } from './structure.ts'

const none = i32(0)

/** A block of a region, decoded again. */
export interface RegionBlock {
  readonly block: Block
  readonly insns: readonly ExpandedInsn[]
  /** How many of them are compiled; the interpreter takes over at the next. */
  readonly compiled: number
  /** Where its end leads, as blocks of the region (by index) and as the words that hold the interpreter's links. */
  readonly taken: Edge | null
  readonly next: Edge | null
  /** Blocks (indexes) that its RET or indirect jump at the end may well go to. */
  readonly targets: readonly { readonly index: number; readonly rip: bigint }[]
}

export interface Edge {
  /** Index of the block in the region, or −1. */
  readonly index: number
  /** Address of the link word that says where the interpreter would go. */
  readonly slot: number
}

export interface RegionLayout {
  readonly jumpCache: number
  /** The micro-op that looks up RIP. */
  readonly lookup: number
}

/** Functions over flags of unknown kind, made when first wanted. */
export interface FlagLibrary {
  condition(evenCode: number): number
  image(): number
}

export function createFlagLibrary(module: ModuleWriter): FlagLibrary {
  const made = new Map<number, number>()
  const source = (kind: number, size: number): FlagSource => {
    const read = (index: number): Expr => (typeOf(size) === I64 ? local(index, I64) : wrap(local(index, I64)))
    return { kind, size, a: read(0), b: read(1) }
  }
  const make = (key: number, compute: (s: FlagSource) => Expr): number => {
    let number = made.get(key)
    if (number === undefined) {
      number = module.declare([I64, I64, I32], [I32])
      const f = new WasmFunction([I64, I64, I32])
      writeByKind(f, local(2, I32), source, compute)
      module.define(number, f)
      made.set(key, number)
    }
    return number
  }
  return {
    condition: (code) => make(code, (s) => condition(code, s)),
    image: () => make(-1, flagImage),
  }
}

/** Writes the region's function; answers the entry numbers that the dispatcher knows, by block index. */
export function writeRegion(
  module: ModuleWriter, name: string, blocks: readonly RegionBlock[], entryIndexes: readonly number[],
  layout: RegionLayout,
  library: FlagLibrary,
): Map<number, number> {
  const number = module.declare([I32, I32], [I32])
  const f = new WasmFunction([I32, I32])
  const writer = createWriter(f, blocks, entryIndexes, layout, library)
  const entries = writer.write()
  module.define(number, f)
  module.export(name, number)
  return entries
}

const ENTRY = 0
const BUDGET_LOCAL = 1

function createWriter(
  f: WasmFunction, blocks: readonly RegionBlock[], entryIndexes: readonly number[], layout: RegionLayout,
  library: FlagLibrary,
): { write(): Map<number, number> } {
  const registers = new Int32Array(16).fill(-1)
  const written = new Uint8Array(16)
  const target = f.newLocal(I32)
  const tlb = f.newLocal(I32)
  const slot = f.newLocal(I32)
  const flags = { a: f.newLocal(I64), b: f.newLocal(I64), op: f.newLocal(I32) }
  const budget = local(BUDGET_LOCAL, I32)
  let exitLabel: Label = 0
  let topLabel: Label = 0
  let current = 0
  const scope: { node: number; label: Label; loop: boolean }[] = []

  const shape: Structure = ((): Structure => {
    const successors: number[][] = [[], ...blocks.map((b) => {
      const to = [b.next, b.taken].flatMap((e) => (e !== null && e.index >= 0 ? [e.index + 1] : []))
      return [...new Set([...to, ...b.targets.map((r) => r.index + 1)])]
    })]
    const forced = new Set(blocks.flatMap((b) => b.targets.map((r) => r.index + 1)))
    return structure(successors, entryIndexes.map((i) => i + 1), forced)
  })()
  const dispatch = new Map(shape.entries.map((node, at) => [node, at]))

  const exit = (to: Expr): void => {
    f.set(target, to)
    f.br(exitLabel)
  }
  const exitByLink = (edge: Edge): void => { exit(or(load32(i32(edge.slot)), i32(1))) }

  /** Goes to another node, in place when this is the only way there. */
  const goTo = (node: number): void => {
    if (shape.order[node] <= shape.order[current]) {
      if (shape.dominates(node, current)) {
        f.br(scope.find((s) => s.loop && s.node === node)?.label ?? topLabel)
        return
      }
    } else if (shape.isMerge[node] !== 0) {
      const found = scope.find((s) => !s.loop && s.node === node)
      if (found !== undefined) {
        f.br(found.label)
        return
      }
    } else {
      const from = current
      writeTree(node)
      current = from
      return
    }
    f.set(ENTRY, i32(dispatch.get(node) ?? 0))
    f.br(topLabel)
  }

  const follow = (edge: Edge | null): void => {
    if (edge === null) {
      f.unreachable()
      return
    }
    if (edge.index < 0) {
      exitByLink(edge)
      return
    }
    const to = blocks[edge.index].block.page
    if (to !== blocks[current - 1].block.page) {
      // Another page: its mapping must still be the one this code was made for.
      f.if(eqz(load32(add(i32(to.words), local(slot, I32)))), () => { exitByLink(edge) })
    }
    goTo(edge.index + 1)
  }

  const context: JitContext = {
    f, flags, tlb: local(tlb, I32), jumpCache: layout.jumpCache, exit,
    register(number, writes) {
      if (registers[number] < 0) registers[number] = f.newLocal(I64)
      if (writes) written[number] = 1
      return registers[number]
    },
    jump() { follow(blocks[current - 1].taken) },
    branch(_insn, when) {
      const { taken, next } = blocks[current - 1]
      f.if(when, () => { follow(taken) })
      follow(next)
    },
    likelyTargets(_insn, to) {
      for (const { index, rip } of blocks[current - 1].targets) {
        const page = blocks[index].block.page
        const valid = page === blocks[current - 1].block.page ? i32(1) : load32(add(i32(page.words), local(slot, I32)))
        f.if(and(eq(to, i64(rip)), valid), () => { goTo(index + 1) })
      }
    },
    genericCondition(cc) {
      const value = call(
        library.condition(cc & 14), I32, [local(flags.a, I64), local(flags.b, I64), local(flags.op, I32)],
      )
      return (cc & 1) === 0 ? value : eqz(value)
    },
    genericImage: () => call(library.image(), I32, [local(flags.a, I64), local(flags.b, I64), local(flags.op, I32)]),
    missedJump(to) {
      f.store(8, none, to, RIP)
      return i32(layout.lookup)
    },
  }

  const writeBlock = (index: number): void => {
    const region = blocks[index]
    const { header, count } = region.block
    f.set(BUDGET_LOCAL, sub(budget, i32(count)))
    f.if(ltS(budget, none), () => {
      f.set(BUDGET_LOCAL, add(budget, i32(count)))
      exit(i32(header | 1))
    })
    const first = region.insns[0]
    const b = new JitBuilder(context, first)
    for (let i = 0; i < region.compiled; i++) {
      const at: JitInsn = region.insns[i]
      b.begin(at)
      const meaning = wasmMeanings.get(at.form.op)
      if (meaning === undefined) throw new Error(`no WebAssembly meaning for ${at.form.op}`)
      meaning(b)
      f.releaseTemporaries()
    }
    if (b.ended) return
    b.storeSource()
    if (region.compiled < region.insns.length) exit(i32(region.insns[region.compiled].uop))
    else follow(region.next)
  }

  /** Writes a node inside the blocks of those of its children that are merges. */
  const writeWithin = (node: number, merges: readonly number[]): void => {
    if (merges.length === 0) {
      if (node === 0) {
        f.brTable(
          local(ENTRY, I32), shape.entries.map((e) => scope.find((s) => !s.loop && s.node === e)?.label ?? topLabel),
        )
      } else {
        current = node
        writeBlock(node - 1)
      }
      return
    }
    const [innermostLast, ...rest] = merges
    f.block((label) => {
      scope.unshift({ node: innermostLast, label, loop: false })
      writeWithin(node, rest)
      scope.shift()
    })
    writeTree(innermostLast)
  }

  const writeTree = (node: number): void => {
    const merges = shape.children[node].filter((c) => shape.isMerge[c] !== 0).sort(
      (a, b) => shape.order[b] - shape.order[a]
    )
    if (shape.isLoop[node] === 0) {
      writeWithin(node, merges)
      return
    }
    f.loop((label) => {
      scope.unshift({ node, label, loop: true })
      writeWithin(node, merges)
      scope.shift()
      f.unreachable()
    })
  }

  return {
    write() {
      f.block((label) => {
        exitLabel = label
        f.loop((top) => {
          topLabel = top
          writeTree(0)
          f.unreachable()
        })
      })
      registers.forEach(
        (index, n) => { if (index >= 0 && written[n] !== 0) f.store(8, none, local(index, I64), GPR + n * 8) }
      )
      f.store(8, none, local(flags.a, I64), CC_A)
      f.store(8, none, local(flags.b, I64), CC_B)
      f.store(4, none, local(flags.op, I32), CC_OP)
      f.store(4, none, budget, BUDGET)
      f.emit(local(target, I32))
      prepend(f, () => {
        registers.forEach((index, n) => { if (index >= 0) f.set(index, load64(none, GPR + n * 8)) })
        f.set(flags.a, load64(none, CC_A))
        f.set(flags.b, load64(none, CC_B))
        f.set(flags.op, load32(none, CC_OP))
        f.set(tlb, load32(none, TLB_BASE))
        f.set(slot, load32(none, CPU_SLOT))
      })
      return new Map([...dispatch].map(([node, at]) => [node - 1, at]))
    },
  }
}

/** Writes code in front of what a function holds: which registers it uses is only known afterwards. */
function prepend(f: WasmFunction, write: () => void): void {
  const body = f.code.view().slice()
  f.code.length = 0
  write()
  f.code.append(body)
}

