/** The event stream: what happened, when, to which processor. It depends on the inputs and the seed alone. */

/** What kind of thing happened: the trace's category. */
export type EventKind =
  /** The machine as a whole: `power-on`, `power-off`, `reset`, `debug-exit`, `shutdown`. */
  | 'machine'
  /** A processor left generated code for an instruction that TypeScript carries out; the name is the mnemonic. */
  | 'exit'
  /** An interrupt, NMI, INIT or start-up IPI was taken. */
  | 'interrupt'
  | 'exception'
  /** A device register was read or written. */
  | 'device'
  /** A guest came out to its host; the name is the exit's. */
  | 'vmexit'
  /** A processor waited, with a duration. */
  | 'idle'

/** One thing that happened. */
export interface MachineEvent {
  /** Nanoseconds of virtual time since power-on. */
  readonly at: number
  readonly cpu: number
  readonly kind: EventKind
  readonly name: string
  /** Virtual nanoseconds, for what takes time. */
  readonly duration?: number
  readonly data?: Readonly<Record<string, number | string | boolean>>
}

/** Takes one event. */
export type Emit = (event: MachineEvent) => void

/** A hash over everything that it is given, in order. Not for cryptography: it tells whether two runs are the same. */
export interface TraceHash {
  add(event: MachineEvent): void
  /** 16 hexadecimal digits. */
  digest(): string
  /** Goes on from where another hash was, by its digest. */
  resume(digest: string): void
}

/** FNV-1a's prime and offset bases (64-bit FNV split into two 32-bit lanes with different bases). */
const PRIME = 0x0100_0193
const BASE_A = 0x811c_9dc5
const BASE_B = 0x84222325 | 0

/** Creates an empty hash. */
export function createTraceHash(): TraceHash {
  let a = BASE_A | 0
  let b = BASE_B
  const word = (value: number): void => {
    a = Math.imul(a ^ value, PRIME)
    a ^= a >>> 15
    b = Math.imul(b ^ value, 0x85eb_ca6b)
    b ^= b >>> 13
  }
  const text = (value: string): void => {
    for (let i = 0; i < value.length; i++) word(value.charCodeAt(i))
    word(-1)
  }
  const number = (value: number): void => {
    word(value | 0)
    word(Math.floor(value / 2 ** 32) | 0)
  }
  return {
    add({ at, cpu, kind, name, duration, data }) {
      number(at)
      word(cpu)
      text(kind)
      text(name)
      number(duration ?? -1)
      if (data === undefined) return
      for (const key in data) {
        const value = data[key]
        text(key)
        if (typeof value === 'number') number(value)
        else text(String(value))
      }
    },
    digest: () => [a, b].map((half) => (half >>> 0).toString(16).padStart(8, '0')).join(''),
    resume(digest) {
      a = Number.parseInt(digest.slice(0, 8), 16) | 0
      b = Number.parseInt(digest.slice(8), 16) | 0
    },
  }
}

/** Names of exceptions by vector (SDM vol. 3, table 6-1). */
const EXCEPTIONS: Readonly<Record<number, string>> = {
  0: '#DE', 1: '#DB', 3: '#BP', 4: '#OF', 5: '#BR', 6: '#UD', 7: '#NM', 8: '#DF', 10: '#TS', 11: '#NP', 12: '#SS',
  13: '#GP', 14: '#PF', 16: '#MF', 17: '#AC', 18: '#MC', 19: '#XM', 20: '#VE', 21: '#CP', 28: '#HV', 29: '#VC',
  30: '#SX',
}

/** `#PF` for 14; `vector 32` where there is no name. */
export const exceptionName = (vector: number): string => EXCEPTIONS[vector] ?? `vector ${vector}`
