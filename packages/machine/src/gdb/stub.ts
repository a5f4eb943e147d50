/**
 * The remote stub of gdb ("Debugging with GDB", appendix E): threads are processors, all stop together. It holds no
 * connection and no clock; whoever runs the machine asks whether it may, and tells when it stopped.
 */
import type { HostWatch, Processor } from '@cofferdam/x86'
import { PACKET_SIZE, createPacketReader, framePacket } from './packets.ts'
import { gdbRegisters, targetXml } from './registers.ts'
import { createLinearMemory } from './target.ts'
import type { Debuggable } from './target.ts'

/** Why the machine stopped, for gdb. */
export type GdbStop =
  | { readonly kind: 'watch'; readonly cpu: number; readonly watch: HostWatch }
  /** gdb asked, or nothing special. */
  | { readonly kind: 'signal'; readonly cpu: number; readonly signal: number }
  /** The guest ended, with a status. */
  | { readonly kind: 'exited'; readonly status: number }

/** The server's end of gdb's remote protocol, without a connection. */
export interface GdbStub {
  /** Bytes that gdb sent. What it asks of a machine that runs is answered when it stops. */
  receive(bytes: Uint8Array): void
  /** Whether the machine is to run. */
  readonly running: boolean
  /** gdb wants the machine to stop: the caller ends its slice and calls `stopped`. */
  readonly interrupted: boolean
  /** gdb detached or killed: no more is to be heard of it. */
  readonly detached: 'no' | 'detached' | 'killed'
  /** The machine stopped while it was to run. */
  stopped(stop: GdbStop): void
}

/** Which machine is debugged, and where answers go. */
export interface GdbStubOptions {
  readonly machine: Debuggable
  /** Sends characters that are bytes. */
  readonly send: (text: string) => void
}

/** Most watches that gdb may set: it has more breakpoints than processors have. */
const WATCHES = 1024
const SIGINT = 2
const SIGTRAP = 5
/** errno values, as gdb's packets name errors. */
const ERROR = { badAddress: 'E0e', invalid: 'E16' } as const

const toHex = (bytes: Uint8Array): string => [...bytes].map((b) => b.toString(16).padStart(2, '0')).join('')
const isHex = (text: string): boolean => text.length % 2 === 0 && /^[0-9a-f]*$/i.test(text)
const fromHex = (text: string): Uint8Array =>
  Uint8Array.from({ length: text.length / 2 }, (_, i) => Number.parseInt(text.slice(i * 2, i * 2 + 2), 16))
const textToHex = (text: string): string => toHex(new TextEncoder().encode(text))
const number = (text: string): number => (/^[0-9a-f]{1,8}$/i.test(text) ? Number.parseInt(text, 16) : NaN)
const address = (text: string): bigint | null => (/^[0-9a-f]{1,16}$/i.test(text) ? BigInt(`0x${text}`) : null)

/** Z packets: 0 and 1 break at instructions, 2 at writes, 3 and 4 at accesses (reads alone are not told apart). */
const WATCH_KINDS: readonly (HostWatch['kind'] | undefined)[] = ['execute', 'execute', 'write', 'access', 'access']

/** Serves gdb for a machine that its caller runs, as `running` says; `stopped` tells gdb why it came back. */
export function createGdbStub({ machine, send }: GdbStubOptions): GdbStub {
  const reader = createPacketReader(send)
  const linear = createLinearMemory(machine.memory)
  const watches = new Map<string, HostWatch>()
  const { seats } = machine.processors
  /** The processors that g, m and s mean. */
  let selected = 0
  let physical = false
  let last: GdbStop = { kind: 'signal', cpu: 0, signal: SIGTRAP }
  const state = { running: false, interrupted: false, detached: 'no' as GdbStub['detached'] }

  /** The selected processor with what runs there in its registers; null where nothing does. */
  const present = (): Processor | null => {
    if (machine.reside?.(selected) === false) return null
    const { processor: found } = seats[selected]
    found.activate()
    return found
  }
  const readRegister = (register: (typeof gdbRegisters)[number]): string => {
    const from = present()
    return from === null ? 'x'.repeat(register.bits / 4) : toHex(register.read(from))
  }
  const thread = (cpu: number): string => (cpu + 1).toString(16)
  /** A processor by a thread's text; 0 and −1 (any, all) are the selected one. */
  const cpuOf = (text: string): number => {
    const id = text === '-1' ? 0 : number(text)
    return id === 0 ? selected : id >= 1 && id <= seats.length ? id - 1 : -1
  }

  const reason = (stop: GdbStop): string => {
    if (stop.kind === 'exited') return `W${(stop.status & 0xff).toString(16).padStart(2, '0')}`
    const head = (signal: number): string => `T${signal.toString(16).padStart(2, '0')}thread:${thread(stop.cpu)};`
    if (stop.kind === 'signal') return head(stop.signal)
    const { kind, address: at } = stop.watch
    if (kind === 'execute') return `${head(SIGTRAP)}hwbreak:;`
    return `${head(SIGTRAP)}${kind === 'write' ? 'watch' : 'awatch'}:${at.toString(16)};`
  }

  const readMemory = (text: string): string => {
    const [from, size] = text.split(',')
    const at = address(from)
    const length = number(size)
    if (at === null || Number.isNaN(length)) return ERROR.invalid
    const most = Math.min(length, (PACKET_SIZE - 4) / 2)
    let bytes: Uint8Array
    if (physical) {
      bytes = new Uint8Array(at < 1n << 52n ? most : 0)
      machine.memory.read(Number(at), bytes)
    } else {
      const from = present()
      bytes = from === null ? new Uint8Array(0) : linear.read(from, at, most)
    }
    return bytes.length === 0 && most > 0 ? ERROR.badAddress : toHex(bytes)
  }

  const writeMemory = (text: string): string => {
    const [head, data] = text.split(':')
    const at = address(head.split(',')[0])
    if (at === null || data === undefined || !isHex(data)) return ERROR.invalid
    const bytes = fromHex(data)
    const to = physical ? null : present()
    if (!physical) return to !== null && linear.write(to, at, bytes) ? 'OK' : ERROR.badAddress
    if (at >= 1n << 52n) return ERROR.badAddress
    machine.memory.write(Number(at), bytes)
    return 'OK'
  }

  const writeRegisters = (text: string): string => {
    if (!isHex(text)) return ERROR.invalid
    const bytes = fromHex(text)
    const target = present()
    if (target === null) return ERROR.invalid
    let from = 0
    for (const register of gdbRegisters) {
      const size = register.bits / 8
      if (from + size > bytes.length) break
      register.write?.(target, bytes.subarray(from, from + size))
      from += size
    }
    return 'OK'
  }

  const writeRegister = (text: string): string => {
    const [name, data] = text.split('=')
    const register = gdbRegisters.at(number(name))
    if (Number.isNaN(number(name)) || register === undefined || data === undefined || !isHex(data)) return ERROR.invalid
    if (register.write === undefined || data.length !== register.bits / 4) return ERROR.invalid
    const target = present()
    if (target === null) return ERROR.invalid
    register.write(target, fromHex(data))
    return 'OK'
  }

  const setWatch = (text: string, on: boolean): string => {
    const [type, from, size] = text.split(';')[0].split(',')
    const kind = WATCH_KINDS.at(number(type))
    const at = address(from)
    const length = number(size)
    if (kind === undefined) return ''
    if (at === null || !(length >= 1 && length <= 4096)) return ERROR.invalid
    const key = `${kind},${from},${size}`
    if (on && watches.size >= WATCHES) return ERROR.invalid
    if (on) watches.set(key, { kind, address: at, length })
    else watches.delete(key)
    machine.watch([...watches.values()])
    return 'OK'
  }

  const resume = (): null => {
    state.running = true
    state.interrupted = false
    return null
  }

  const step = (cpu: number): string => {
    machine.step(cpu)
    last = { kind: 'signal', cpu, signal: SIGTRAP }
    selected = cpu
    return reason(last)
  }

  /** vCont;ACTION[:THREAD]…: a step of one processor wins over what the others are to do. */
  const resumeAs = (text: string): string | null => {
    const actions = text.split(';').filter((part) => part !== '').map((part) => part.split(':'))
    for (const [action, who] of actions) {
      if (!/^[sS]/.test(action)) continue
      const cpu = (who as string | undefined) === undefined ? selected : cpuOf(who)
      return cpu < 0 ? ERROR.invalid : step(cpu)
    }
    return actions.some(([action]) => /^[cC]/.test(action)) ? resume() : ERROR.invalid
  }

  const leave = (how: 'detached' | 'killed'): void => {
    watches.clear()
    machine.watch([])
    state.detached = how
    state.running = how === 'detached'
  }

  const select = (text: string): string => {
    const cpu = cpuOf(text.slice(1))
    if (cpu < 0) return ERROR.invalid
    selected = cpu
    return 'OK'
  }

  const transfer = (text: string): string => {
    const found = /^features:read:target\.xml:([0-9a-f]{1,8}),([0-9a-f]{1,8})$/i.exec(text)
    if (found === null) return text.startsWith('features:') ? 'E00' : ''
    const from = number(found[1])
    const part = targetXml.slice(from, from + Math.min(number(found[2]), PACKET_SIZE - 4))
    return `${from + part.length < targetXml.length ? 'm' : 'l'}${part}`
  }

  const MONITOR_HELP = 'phys on|off: memory by physical or by virtual addresses\n'
  const monitor = (text: string): string => {
    const command = isHex(text) ? new TextDecoder().decode(fromHex(text)).trim() : ''
    const found = /^phys (on|off)$/.exec(command)
    if (found !== null) physical = found[1] === 'on'
    return textToHex(
      found === null ? MONITOR_HELP : `memory is read by ${physical ? 'physical' : 'virtual'} addresses\n`
    )
  }

  /** Queries and settings by name, longest first where one begins another. */
  const queries: readonly (readonly [string, (rest: string) => string])[] = [
    ['qSupported', () => `PacketSize=${PACKET_SIZE.toString(16)};`
      + 'qXfer:features:read+;QStartNoAckMode+;hwbreak+;swbreak+;vContSupported+'],
    ['QStartNoAckMode', () => 'OK'],
    ['qXfer:', transfer],
    ['qAttached', () => '1'],
    ['qC', () => `QC${thread(selected)}`],
    ['qfThreadInfo', () => `m${seats.map((_, cpu) => thread(cpu)).join(',')}`],
    ['qsThreadInfo', () => 'l'],
    ['qThreadExtraInfo,', (rest) => {
      const cpu = cpuOf(rest)
      if (cpu < 0) return ERROR.invalid
      const { processor: { halted }, waiting } = seats[cpu]
      return textToHex(`vCPU ${cpu}${waiting ? ' waits for a start-up IPI' : halted ? ' halted' : ''}`)
    }],
    ['qRcmd,', monitor],
    ['qqemu.PhyMemMode', () => (physical ? '1' : '0')],
    ['Qqemu.PhyMemMode:', (rest) => {
      physical = rest === '1'
      return 'OK'
    }],
    ['vCont?', () => 'vCont;c;C;s;S'],
    ['vMustReplyEmpty', () => ''],
  ]

  /** The answer to a packet; null: it comes when the machine stops. */
  const answer = (text: string): string | null => {
    const query = queries.find(([name]) => text.startsWith(name))
    if (query !== undefined) return query[1](text.slice(query[0].length))
    if (text.startsWith('vCont;')) return resumeAs(text.slice(6))
    const rest = text.slice(1)
    switch (text[0]) {
      case '?': return reason(last)
      case 'g': return gdbRegisters.map(readRegister).join('')
      case 'G': return writeRegisters(rest)
      case 'p': {
        const register = Number.isNaN(number(rest)) ? undefined : gdbRegisters.at(number(rest))
        return register === undefined ? ERROR.invalid : readRegister(register)
      }
      case 'P': return writeRegister(rest)
      case 'm': return readMemory(rest)
      case 'M': return writeMemory(rest)
      case 'Z': return setWatch(rest, true)
      case 'z': return setWatch(rest, false)
      case 'H': return select(rest)
      case 'T': return cpuOf(rest) < 0 ? ERROR.invalid : 'OK'
      case 'c': return resume()
      case 's': return step(selected)
      case 'D':
        leave('detached')
        return 'OK'
      case 'k':
        leave('killed')
        return null
      default: return ''
    }
  }

  return {
    receive(bytes) {
      for (const incoming of reader.take(bytes)) {
        if (incoming.kind === 'interrupt') {
          if (state.running) state.interrupted = true
          continue
        }
        // Nothing else may come while the machine runs; a debugger that does not wait is not answered.
        if (state.running) continue
        const text = answer(incoming.text)
        if (text !== null) send(framePacket(text))
        if (incoming.text === 'QStartNoAckMode') reader.stopAcknowledging()
      }
    },
    get running() { return state.running },
    get interrupted() { return state.interrupted },
    get detached() { return state.detached },
    stopped(stop) {
      if (!state.running || state.detached !== 'no') return
      state.running = false
      state.interrupted = false
      last = stop
      if (stop.kind !== 'exited') selected = stop.cpu
      send(framePacket(reason(stop)))
    },
  }
}

/** The stop that an interrupt from gdb makes. */
export const interruptStop = (cpu: number): GdbStop => ({ kind: 'signal', cpu, signal: SIGINT })
