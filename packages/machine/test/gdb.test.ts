import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createGdbStub, createMachine } from '../src/index.ts'
import type { GdbStub, Machine } from '../src/index.ts'
import { framePacket } from '../src/gdb/packets.ts'
import { targetXml } from '../src/gdb/registers.ts'
import { ENTRY, flatKernel } from './kernels.ts'

const bytes = (text: string): Uint8Array => Uint8Array.from(text, (c) => c.charCodeAt(0))

interface Attached {
  readonly machine: Machine
  readonly stub: GdbStub
  readonly sent: string[]
  /** Sends a packet; answers the text of the reply. */
  ask(text: string): string | undefined
}

/** A machine that counts in EAX and writes the count to memory, with gdb attached. */
function attach(vcpus = 1): Attached {
  const machine = createMachine({
    memory: 2 ** 24, vcpus, seed: 1, engine: 'interp', cpu: 'intel', append: '', onSerial: () => undefined,
    kernel: flatKernel('31 c0 40 a3 00 00 20 00 eb f8 ; again: inc eax; mov [200000h],eax; jmp again'),
  })
  const sent: string[] = []
  const stub = createGdbStub({ machine, send: (text) => { sent.push(text) } })
  return {
    machine, stub, sent,
    ask(text) {
      sent.length = 0
      stub.receive(bytes(framePacket(text)))
      return sent.filter((s) => s.startsWith('$')).map((s) => s.slice(1, -3)).at(-1)
    },
  }
}

const AGAIN = (ENTRY + 2).toString(16)

describe('the gdb stub', () => {
  it('acknowledges packets, asks again for damaged ones, and stops doing so when gdb wishes', () => {
    const { stub, sent } = attach()
    stub.receive(bytes('$?#3f'))
    expect(sent).toEqual(['+', framePacket('T05thread:1;')])
    sent.length = 0
    stub.receive(bytes('$?#00'))
    expect(sent).toEqual(['-'])
    sent.length = 0
    stub.receive(bytes(framePacket('QStartNoAckMode')))
    stub.receive(bytes(framePacket('qC')))
    expect(sent).toEqual(['+', framePacket('OK'), framePacket('QC1')])
  })

  it('takes packets in any pieces', () => {
    const { stub, sent } = attach()
    fc.assert(fc.property(fc.array(fc.integer({ min: 1, max: 6 }), { maxLength: 20 }), (sizes) => {
      sent.length = 0
      const all = bytes(`+${framePacket('qfThreadInfo')}+${framePacket('p10')}`)
      let at = 0
      for (const size of [...sizes, all.length]) stub.receive(all.slice(at, at += size))
      expect(sent.filter((s) => s.startsWith('$'))).toEqual([framePacket('m1'), framePacket('2000100000000000')])
    }), { numRuns: 50, seed: 3 })
  })

  it('gives the target description in parts', () => {
    const { ask } = attach()
    let text = ''
    for (let part = ask('qXfer:features:read:target.xml:0,100'); part !== undefined;) {
      text += part.slice(1).replace(/}(.)/g, (_, c: string) => String.fromCharCode(c.charCodeAt(0) ^ 0x20))
      if (part.startsWith('l')) break
      part = ask(`qXfer:features:read:target.xml:${text.length.toString(16)},100`)
    }
    expect(text).toBe(targetXml)
  })

  it('writes what it reads back: registers and memory', () => {
    const { ask } = attach()
    expect(ask('P0=8877665544332211')).toBe('OK')
    expect(ask('p0')).toBe('8877665544332211')
    const all = ask('g') ?? ''
    expect(ask(`G${all}`)).toBe('OK')
    expect(ask('g')).toBe(all)
    expect(ask('M200000,4:deadbeef')).toBe('OK')
    expect(ask('m200000,4')).toBe('deadbeef')
    expect(ask('Qqemu.PhyMemMode:1')).toBe('OK')
    expect(ask('m200000,4')).toBe('deadbeef')
  })

  it('steps one instruction, and stops at breakpoints and at writes to what it watches', () => {
    const { machine, stub, ask, sent } = attach()
    expect(ask('s')).toBe('T05thread:1;')
    expect(ask('p10')).toBe(`${AGAIN.match(/../g)?.toReversed().join('').padEnd(16, '0')}`.padEnd(16, '0'))
    expect(ask(`Z0,${AGAIN},1`)).toBe('OK')
    expect(ask('vCont;c')).toBeUndefined()
    expect(stub.running).toBe(true)
    const result = machine.run({ instructions: 1000 })
    expect(result).toMatchObject({ reason: 'watch', cpu: 0, watch: { kind: 'execute' } })
    if (result.reason === 'watch') stub.stopped({ kind: 'watch', cpu: result.cpu, watch: result.watch })
    expect(sent.at(-1)).toBe(framePacket('T05thread:1;hwbreak:;'))
    expect(ask(`z0,${AGAIN},1`)).toBe('OK')
    expect(ask('Z2,200000,4')).toBe('OK')
    ask('c')
    const second = machine.run({ instructions: 1000 })
    if (second.reason === 'watch') stub.stopped({ kind: 'watch', cpu: second.cpu, watch: second.watch })
    expect(sent.at(-1)).toBe(framePacket('T05thread:1;watch:200000;'))
  })

  it('changes nothing of what a guest does when nobody asks it to', () => {
    const run = (between: (a: Attached) => void): unknown => {
      const attached = attach(2)
      for (let i = 0; i < 5; i++) {
        attached.machine.run({ instructions: 1001 })
        between(attached)
      }
      return [attached.machine.stats().instructions, attached.ask('g'), attached.ask('m200000,4')]
    }
    const curious = run(({ ask }) => {
      const code = ENTRY.toString(16)
      for (const text of ['g', 'm0,1000', `m${code},20`, 'Z1,100000,1', 'z1,100000,1', 'Hg2', 'g', 'Hg1']) ask(text)
    })
    expect(curious).toEqual(run(() => undefined))
  })

  it('answers or ignores whatever comes, and never breaks', () => {
    const { stub, ask } = attach(2)
    const letters = fc.constantFrom(...'gGpPmMzZHTvVqQXkD?cs,;:=#$}-+\u0003'.split(''), ...'0123456789abcdef'.split(''))
    const packets = fc.array(fc.tuple(letters, fc.array(letters, { maxLength: 12 })), { minLength: 1, maxLength: 8 })
    fc.assert(fc.property(packets, fc.uint8Array({ maxLength: 40 }), (list, noise) => {
      for (const [head, rest] of list) stub.receive(bytes(framePacket(head + rest.join(''))))
      stub.receive(noise)
    }), { numRuns: 2000, seed: 7 })
    const { ask: other } = attach()
    expect(other(`m0,${'f'.repeat(8)}`)?.length).toBeLessThan(0x4000)
    expect(ask('?') === undefined || stub.detached === 'no').toBe(true)
  })
})
