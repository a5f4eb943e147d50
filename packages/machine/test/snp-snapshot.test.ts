/// <reference types="node" />
import { Reg } from '@cofferdam/boot'
import type { Assembler } from '@cofferdam/boot'
import { describe, expect, it } from 'vitest'
import { createMachine, decodeSnapshot, encodeSnapshot, MachineError } from '../src/index.ts'
import type { Machine, MachineOptions, SnapshotData } from '../src/index.ts'
import { createDraw, damageHost, mutateSnapshot } from './mutate.ts'
import { BROKEN } from './snp-broken.ts'
import { pvalidate, restless } from './snp-code.ts'
import { snpMachine } from './snp-machine.ts'
import type { Code } from './snp-machine.ts'

const { rax, r8 } = Reg
const MiB = 2 ** 20
const create = (code: Code, options: Partial<MachineOptions> = {}): Machine =>
  snpMachine(code, { traceHash: true, ...options })

const CASES = Number(process.env.COFFERDAM_FUZZ ?? 12)
const FIRST = Number(process.env.COFFERDAM_FUZZ_FIRST ?? 1)

/** Everything that decides what a machine does next. */
const whole = (machine: Machine): object => {
  const { options, state, image } = machine.snapshot()
  return { options, state, image }
}

/** The kernel begins behind some 63500 instructions of the boot stage; a round of its loop takes some 40. */
const END = 72_000
/** Instructions at which snapshots are taken: as soon as can be, in the boot stage, and where exits come thick. */
const MOMENTS = [1, 5000, 68_003, 68_012, 68_019, 70_000]

describe('a snapshot of an SNP guest', () => {
  it('goes on as the machine did, behind any instruction, in any engine, by a file', { timeout: 60_000 }, async () => {
    const straight = create(restless)
    straight.run({ instructions: END })
    expect(straight.findings.list().map(({ rule }) => rule)).toContain('snp-double-validation')
    const walker = create(restless)
    const engines = ['interp', 'jit', 'auto'] as const
    let at = 0
    for (const moment of MOMENTS) {
      walker.run({ instructions: moment - at })
      at = moment
      const snapshot = await decodeSnapshot(await encodeSnapshot(walker.snapshot()))
      const copy = snapshot.fork({ engine: engines[moment % 3], traceHash: true })
      expect(whole(copy)).toEqual(whole(walker))
      copy.run({ instructions: END - moment })
      const [one, other] = [copy, straight].map((machine) => ({ ...machine.stats(), jit: null }))
      expect(one.traceHash).toBe(other.traceHash)
      expect([one.virtualTime, one.snp]).toEqual([other.virtualTime, other.snp])
      expect(copy.findings.list()).toEqual(straight.findings.list())
    }
    const last = walker.snapshot().fork()
    last.run({ instructions: END - at })
    expect(whole(last)).toEqual({ ...whole(straight), state: { ...straight.snapshot().state, traceHash: null } })
  })

  it('serves many machines side by side, and none of them changes it', () => {
    const machine = create(restless)
    machine.run({ instructions: 66_000 })
    const snapshot = machine.snapshot({ mine: 1 })
    const [one, two] = [snapshot.fork(), snapshot.fork({ traceHash: true })]
    one.run({ instructions: 500 })
    two.run({ instructions: 700 })
    one.run({ instructions: 900 })
    machine.run({ instructions: 700 })
    const late = snapshot.fork({ traceHash: true })
    late.run({ instructions: 700 })
    expect(whole(late)).toEqual(whole(machine))
    expect(two.stats().traceHash).toBe(machine.stats().traceHash)
    expect(snapshot.attachment).toEqual({ mine: 1 })
  })
  it('is refused of a machine that has ended', () => {
    const machine = create((asm) => { asm.plain('cpuid') })
    machine.run({ instructions: 1e6 })
    expect(() => machine.snapshot()).toThrow('machine: state: it has ended')
  })

  it('is refused of a machine with a TPM, which is a program outside of it', () => {
    const machine = create(restless, { svsm: { vmpl: 2, vtpm: { command: () => null } } })
    expect(() => machine.snapshot()).toThrow(/^svsm: vtpm: a TPM is a program outside of the machine/)
  })

  it('decides what the machine is, and refuses options that say otherwise', () => {
    const machine = create(restless)
    machine.run({ instructions: 100 })
    const snapshot = machine.snapshot()
    expect(snapshot.options).toMatchObject({ cc: 'snp', snp: { vmpl: null, hostile: null } })
    for (const [given, message] of [
      [{ cc: 'none' }, 'snapshot: cc: it has snp; asked for none'],
      [{ svsm: { vmpl: 2 } }, 'snapshot: svsm: it has none; asked for the guest at VMPL2'],
      [{ hostile: [{ mode: 'flip', at: 7 }] }, 'snapshot: hostile: it has none; asked for flip@7'],
      [{ sevFeatures: 0x20n }, 'snapshot: sevFeatures: it has 0x0; asked for 0x20'],
      [{ errata: ['coherency'] }, 'snapshot: errata: it has none; asked for coherency'],
      [{ memory: 128 * MiB }, 'snapshot: memory: it has 67108864; asked for 134217728'],
    ] as const) expect(() => snapshot.fork(given)).toThrow(message)
    expect(snapshot.fork({ cc: 'snp', sevFeatures: 0n }).stats().instructions).toBe(machine.stats().instructions)
  })

  it('keeps what was validated and waits to be evicted from the caches', () => {
    const careless = (asm: Assembler): void => {
      asm.set(r8, 0x200_0000)
      asm.label('again')
      pvalidate(asm, 0x200_0000, 0)
      pvalidate(asm, 0x200_0000, 1)
      asm.load(rax, r8, 0)
      asm.store(r8, 256, rax)
      asm.jump('again')
    }
    const straight = create(careless, { errata: ['coherency'] })
    let first = 0
    for (; straight.findings.list().length === 0; first += 10_000) straight.run({ instructions: 10_000 })
    const walker = create(careless, { errata: ['coherency'] })
    walker.run({ instructions: first })
    straight.run({ instructions: 100 })
    // In one round of the loop, one finding is counted.
    for (let at = 0; at < 16; at++) {
      const copy = walker.snapshot().fork()
      copy.run({ instructions: 100 - at })
      expect(copy.findings.list(), `${at} instructions on`).toEqual(straight.findings.list())
      walker.run({ instructions: 1 })
    }
    expect(straight.findings.list()).toMatchObject([{ rule: 'snp-unevicted-page' }])
  })

  it.each([
    'snp-unaccepted-table', 'snp-vmsa-touched', 'snp-load-past-end',
  ])('goes on to find: %s', { timeout: 30_000 }, (rule) => {
    const { code, options } = BROKEN[rule]
    const machine = create(code, options)
    machine.run({ instructions: 60_000 })
    expect(machine.findings.list()).toEqual([])
    const copy = machine.snapshot().fork()
    for (const each of [machine, copy]) each.run({ instructions: 2_000_000 })
    expect(copy.findings.list().map((found) => found.rule)).toContain(rule)
    expect(copy.findings.list()).toEqual(machine.findings.list())
  })

  it('keeps a hostile host, which strikes when it would have', () => {
    const struck = (machine: Machine) =>
      machine.stats().snp?.hostile?.map(({ did, instructions }) => [did, instructions])
    for (const hostile of [
      [{ mode: 'flip', at: 66_500 }, { mode: 'replay', at: 66_000 }], [{ mode: 'lie-psc', at: 67_000 }],
    ] as const) {
      const straight = create(restless, { hostile })
      straight.run({ instructions: 66_300 })
      const copy = straight.snapshot().fork({ traceHash: true })
      for (const machine of [straight, copy]) machine.run({ instructions: 6000 })
      expect(struck(copy)).toEqual(struck(straight))
      expect(copy.stats().traceHash).toBe(straight.stats().traceHash)
      expect(struck(copy)?.[0]?.[0]).toMatch(/^(flipped|said)/)
    }
  })
})

describe('an SNP snapshot with something wrong in it', () => {
  const machine = create(restless)
  machine.run({ instructions: 66_000 })
  const snapshot = machine.snapshot()
  /** The snapshot with another value at a path below `state.snp`. */
  const broken = (path: string, value: unknown): SnapshotData => {
    const state = structuredClone(snapshot.state)
    const names = path.split('.')
    const last = names.pop() ?? ''
    const holder = names.reduce<unknown>((at, name) => Reflect.get(at as object, name), state.snp)
    Reflect.set(holder as object, last, value)
    return { ...snapshot, state }
  }

  it.each([
    ['guest.npt.root', 2 ** 40, 'snp.guest.npt: expected a table in RAM'],
    ['guest.memory.regions.0.1', 511, "snp.guest.memory.regions: expected 512 pages of the host's RAM"],
    ['guest.vcpus', [], 'snp.guest.vcpus: expected 1 processors'],
    ['guest.asid', 'x', 'snp.guest.asid: expected a whole number, not negative'],
    ['guest.vcpus.0.vmpls.levels.0.vmsa', 2 ** 45, 'snp.guest.vcpus.vmpls: expected 4 levels'],
    ['host.pages.core.count.0', 77, 'snp.host.pages.count: expected the lengths of the lists'],
    ['silicon.psp.scalars.snp', 'n1', 'snp.psp.scalars.snp: expected a number'],
    ['findings.history.mistaken', [-1], 'snp.findings.history.mistaken[0]: expected a whole number'],
    ['unacceptedTable', { start: 0, length: 2 ** 40 }, 'snp.unacceptedTable.length: expected as many bits as'],
    ['silicon.rmp.enabled', false, 'snp.silicon.rmp: expected a reverse map, turned on'],
    ['silicon.rmp.base', '0', 'snp.silicon.rmp: expected a reverse map, turned on'],
    ['silicon.evictions', [[1, 1, 1n]], 'snp.silicon.evictions: expected those of the options'],
    ['time.lanes', [], 'snp.time: expected the account of 1 processors'],
  ])('is refused by field: %s', (path, value, message) => {
    expect(() => createMachine({ restore: broken(path, value) })).toThrow(`snapshot: ${message}`)
  })

  it('is refused where parts are missing', () => {
    const [seat] = snapshot.state.seats
    const without = {
      ...snapshot,
      state: { ...snapshot.state, seats: [{ ...seat, processor: { ...seat.processor, supervisor: null } }] },
    }
    expect(() => createMachine({ restore: without }))
      .toThrow('seats.processor.supervisor: expected what SVM knows of its guests')
    expect(() => createMachine({ restore: { ...snapshot, state: { ...snapshot.state, snp: null } } }))
      .toThrow('snapshot: snp: expected a record')
  })

  it('is refused, or makes a machine that runs', { timeout: 3_600_000 }, async () => {
    let refused = 0
    for (let seed = FIRST; seed < FIRST + CASES; seed++) {
      const draw = createDraw(seed)
      try {
        const read = await decodeSnapshot(await encodeSnapshot(mutateSnapshot(snapshot, seed)), { name: 'f.snap' })
        const copy = read.fork({ engine: 'interp' })
        if (draw(2) === 0) damageHost(copy.memory, read.state, draw)
        for (let n = 0; n < 10; n++) copy.run({ instructions: 10_000 })
        copy.snapshot()
      } catch (error) {
        if (!(error instanceof MachineError)) throw new Error(`case ${seed}: ${String(error)}`, { cause: error })
        if (error.file === 'f.snap') refused++
      }
    }
    expect(refused).toBeGreaterThan(CASES / 5)
  })

  it('makes a machine that ends with words when the host finds its own tables damaged', () => {
    const copy = snapshot.fork({ engine: 'interp' })
    const { root } = snapshot.state.snp?.guest.npt ?? { root: 0 }
    copy.memory.write(root, Uint8Array.of(7, 0, 0, 0, 0, 0x10, 0, 0))
    const result = copy.run({ instructions: 1e6 })
    expect(result).toMatchObject({
      reason: 'shutdown',
      message: 'the host cannot go on: nested page tables: 0x100000000000: is no table: no RAM is there',
    })
    expect(copy.run({ instructions: 1 })).toEqual(result)
    expect(() => copy.snapshot()).toThrow('machine: state: it has ended')
  })
})
