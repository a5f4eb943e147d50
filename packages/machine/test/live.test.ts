/// <reference types="node" />
/// <reference lib="dom.asynciterable" />
import { describe, expect, it } from 'vitest'
import { createEventStream, createMachine, createSerialStreams, runMachine } from '../src/index.ts'
import type { DroppedEvents, Machine, MachineEvent, MachineOptions } from '../src/index.ts'
import { flatKernel } from './kernels.ts'

/** Answers each byte with the next one; powers off at `q`. */
const echo = `
  66bafd03 ec a801 74f7                    ; wait: mov dx, 3FDh; in al, dx; test al, 1; jz wait
  66baf803 ec 3c71 7405 40 ee ebea 90      ; mov dx, 3F8h; in al, dx; cmp al, 'q'; je off; inc eax; out dx, al; jmp wait
  66ba0406 66b80020 66ef f4                ; off: mov dx, 604h; mov ax, 2000h; out dx, ax; hlt
`
const start = (code: string, more: Partial<MachineOptions> = {}): Machine => createMachine({
  kernel: flatKernel(code), append: '', memory: 16 * 2 ** 20, vcpus: 1, seed: 1, engine: 'auto', cpu: 'intel', ...more,
})
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

const readAll = async (readable: ReadableStream<Uint8Array>): Promise<string> => {
  const decoder = new TextDecoder()
  let text = ''
  for await (const chunk of readable) text += decoder.decode(chunk, { stream: true })
  return text
}

describe('the serial port as streams', () => {
  it('carries what is written to the guest and what the guest answers, to the end', async () => {
    const serial = createSerialStreams()
    const machine = start(echo, { onSerial: serial.onSerial })
    const writer = serial.writable.getWriter()
    // More than a port takes at once.
    const text = 'a'.repeat(300)
    const [result, answer] = await Promise.all([
      runMachine(machine, { serial, slice: 1000 }), readAll(serial.readable), writer.write(bytes(text)),
      writer.write(bytes('q')),
    ])
    expect(result).toEqual({ reason: 'poweroff' })
    expect(answer).toBe('b'.repeat(300))
    await expect(writer.write(bytes('x'))).rejects.toThrow('the machine has ended')
  })

  it('keeps what nobody reads up to its limit, and says how much it gave up', async () => {
    const serial = createSerialStreams({ limit: 10_000 })
    for (let i = 0; i < 200_000; i++) serial.onSerial(Uint8Array.of(i & 0xff))
    const kept = 200_000 - serial.dropped
    expect(kept).toBeGreaterThanOrEqual(10_000)
    expect(kept).toBeLessThanOrEqual(20_000)
    serial.close()
    const reader = serial.readable.getReader()
    const { value } = await reader.read()
    expect(value?.length).toBe(kept)
    expect(value?.at(-1)).toBe(199_999 & 0xff)
    expect((await reader.read()).done).toBe(true)
  })

  it('ends for a reader that waits', async () => {
    const serial = createSerialStreams()
    const read = serial.readable.getReader().read()
    serial.close()
    expect(await read).toEqual({ done: true, value: undefined })
  })

  it('goes on without a reader that has left', async () => {
    const serial = createSerialStreams()
    await serial.readable.cancel()
    serial.onSerial(Uint8Array.of(1))
    serial.flush()
    serial.close()
    expect(serial.dropped).toBe(0)
  })
})

describe('events as an iterator', () => {
  it('come in order, from power-on to the end', async () => {
    const events = createEventStream()
    const machine = start('90 66ba0406 66b80020 66ef f4', { onEvent: events.onEvent })
    const seen: (MachineEvent | DroppedEvents)[] = []
    const reading = (async () => { for await (const event of events) seen.push(event) })()
    await runMachine(machine, { events })
    await reading
    expect(seen[0]).toMatchObject({ kind: 'machine', name: 'power-on', at: 0 })
    expect(seen.at(-1)).toMatchObject({ kind: 'machine', name: 'poweroff' })
    expect(seen.map(({ at }) => at)).toEqual(seen.map(({ at }) => at).toSorted((a, b) => a - b))
  })

  const event = (at: number): MachineEvent => ({ at, cpu: 0, kind: 'exit', name: 'x' })
  it('are kept up to a limit; one stands for those that are missing, in their place', async () => {
    const events = createEventStream({ limit: 3, filter: ({ at }) => at !== 2 })
    for (let at = 1; at <= 10; at++) events.onEvent(event(at))
    const iterator = events[Symbol.asyncIterator]()
    const next = async (): Promise<unknown> => (await iterator.next()).value
    for (const at of [1, 3, 4]) expect(await next()).toMatchObject({ kind: 'exit', at })
    expect(await next()).toEqual({ kind: 'dropped', count: 6, at: 5, to: 10 })
    events.onEvent(event(11))
    expect(await next()).toMatchObject({ kind: 'exit', at: 11 })
    events.close()
    events.onEvent(event(12))
    expect((await iterator.next()).done).toBe(true)
  })
})

describe('running beside the rest of a program', () => {
  it('comes back after so many instructions, and lets others have their turn', async () => {
    const machine = start('ebfe')
    let turns = 0
    let running = true
    const others = (async () => {
      while (running) {
        turns++
        await new Promise((resolve) => { setTimeout(resolve, 0) })
      }
    })()
    expect(await runMachine(machine, { instructions: 1_000_000, slice: 10_000 })).toEqual({ reason: 'budget' })
    running = false
    await others
    expect(turns).toBeGreaterThan(1)
    expect(machine.stats().instructions).toBe(1_000_000)
  })

  it('comes back for a signal, at once for one that came before', async () => {
    const machine = start('ebfe')
    const aborter = new AbortController()
    setTimeout(() => { aborter.abort() }, 5)
    expect(await runMachine(machine, { signal: aborter.signal })).toMatchObject({ reason: 'interrupted' })
    const { instructions } = machine.stats()
    expect(await runMachine(machine, { signal: aborter.signal })).toMatchObject({ reason: 'interrupted' })
    expect(machine.stats().instructions).toBe(instructions)
  })

  it('comes back when `until` says so, and when the guest waits for what will not come', async () => {
    let slices = 0
    const machine = start('ebfe')
    await runMachine(machine, { slice: 100, until: () => ++slices === 5 })
    expect(machine.stats().instructions).toBe(500)
    expect(await runMachine(start('fa f4'))).toEqual({ reason: 'idle' })
  })
})
