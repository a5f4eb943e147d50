import { ByteWriter } from './bytes.ts'
import type { ValueType } from './expr.ts'
import type { WasmFunction } from './function.ts'

/**
 * Writes a WebAssembly module: imported functions, one imported memory, perhaps an imported table, functions, exports.
 */
export class ModuleWriter {
  private readonly types: [readonly ValueType[], readonly ValueType[]][] = []
  private readonly typeNumbers = new Map<string, number>()
  private readonly imports: [string, number][] = []
  private readonly functions: { type: number; body: WasmFunction | null }[] = []
  private readonly exports: [string, number][] = []
  private memoryPages = 0
  private tableSize = 0

  type(parameters: readonly ValueType[], results: readonly ValueType[]): number {
    const key = `${parameters.join()}>${results.join()}`
    let number = this.typeNumbers.get(key)
    if (number === undefined) {
      number = this.types.push([parameters, results]) - 1
      this.typeNumbers.set(key, number)
    }
    return number
  }

  /** Imports function `env.name`. All imports come before the first function. */
  importFunction(name: string, parameters: readonly ValueType[], results: readonly ValueType[]): number {
    return this.imports.push([name, this.type(parameters, results)]) - 1
  }

  /** Imports memory `env.memory` of at least `pages` pages. */
  importMemory(pages: number): void {
    this.memoryPages = pages
  }

  /** Imports table `env.table`. */
  importTable(size: number): void {
    this.tableSize = size
  }

  /** Reserves a function number; its body comes with `define`. */
  declare(parameters: readonly ValueType[], results: readonly ValueType[]): number {
    return this.imports.length + this.functions.push({ type: this.type(parameters, results), body: null }) - 1
  }

  define(number: number, body: WasmFunction): void {
    this.functions[number - this.imports.length].body = body
  }

  export(name: string, functionNumber: number): void {
    this.exports.push([name, functionNumber])
  }

  build(): Uint8Array<ArrayBuffer> {
    const out = new ByteWriter()
    out.append(new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]))
    const section = (id: number, fill: (s: ByteWriter) => void): void => {
      const s = new ByteWriter(1 << 10)
      fill(s)
      out.u8(id)
      out.u32(s.length)
      out.append(s.view())
    }
    section(1, (s) => {
      s.u32(this.types.length)
      for (const [parameters, results] of this.types) {
        s.u8(0x60)
        for (const list of [parameters, results]) {
          s.u32(list.length)
          for (const t of list) s.u8(t)
        }
      }
    })
    section(2, (s) => {
      s.u32(this.imports.length + 1 + (this.tableSize > 0 ? 1 : 0))
      for (const [name, type] of this.imports) {
        s.name('env')
        s.name(name)
        s.u8(0)
        s.u32(type)
      }
      s.name('env')
      s.name('memory')
      s.u8(2)
      s.u8(0)
      s.u32(this.memoryPages)
      if (this.tableSize > 0) {
        s.name('env')
        s.name('table')
        s.u8(1)
        s.u8(0x70)
        s.u8(0)
        s.u32(this.tableSize)
      }
    })
    section(3, (s) => {
      s.u32(this.functions.length)
      for (const f of this.functions) s.u32(f.type)
    })
    section(7, (s) => {
      s.u32(this.exports.length)
      for (const [name, number] of this.exports) {
        s.name(name)
        s.u8(0)
        s.u32(number)
      }
    })
    section(10, (s) => {
      s.u32(this.functions.length)
      for (const { body } of this.functions) writeBody(s, body)
    })
    return out.bytes.slice(0, out.length)
  }
}

function writeBody(s: ByteWriter, body: WasmFunction | null): void {
  if (body === null) throw new Error('a declared function was never defined')
  const b = new ByteWriter(body.code.length + 64)
  const runs: [number, ValueType][] = []
  for (const type of body.locals) {
    const last = runs.at(-1)
    if (last?.[1] === type) last[0]++
    else runs.push([1, type])
  }
  b.u32(runs.length)
  for (const [count, type] of runs) {
    b.u32(count)
    b.u8(type)
  }
  b.append(body.code.view())
  b.u8(0x0b)
  s.u32(b.length)
  s.append(b.view())
}
