import { Reg } from '@cofferdam/boot'
import type { Assembler } from '@cofferdam/boot'
import { GhcbMsr, HvFeatures, Msr, SevFeatures, SvsmCallingArea, SvsmCoreCall } from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import { decodeSnapshot, encodeSnapshot } from '../src/index.ts'
import type { Machine, MachineOptions } from '../src/index.ts'
import { pvalidate, report, request } from './snp-code.ts'
import { callingArea, messageOf, reported, snpMachine } from './snp-machine.ts'
import type { Code } from './snp-machine.ts'

const { rax, rbx, rcx, rdx, r8 } = Reg
const svsm = { vmpl: 2 } as const
const create = (code: Code, options: Partial<MachineOptions> = {}): Machine => snpMachine(code, { svsm, ...options })

const runVmpl = (vmpl: number): bigint => BigInt(GhcbMsr.RUN_VMPL_REQ) | BigInt(vmpl) << 32n

/** Asks the SVSM for its core protocol, by running VMPL0. */
function queryProtocol(asm: Assembler, area: number): void {
  asm.set(rdx, 0)
  asm.set(rax, runVmpl(0))
  asm.set(rcx, Msr.AMD_SEV_ES_GHCB)
  asm.plain('wrmsr')
  asm.set(r8, area)
  asm.set(rax, 1)
  asm.store(r8, SvsmCallingArea.offset.callPending, rax, 1)
  asm.set(rax, SvsmCoreCall.QUERY_PROTOCOL)
  asm.set(rcx, 1)
  asm.plain('vmgexit')
}

describe('an SNP guest under an SVSM', () => {
  it('may not PVALIDATE by itself', () => {
    expect(messageOf(create((asm) => {
      pvalidate(asm, 0x100_0000, 1)
    }))).toMatch(/triple fault/)
  })

  it.each([
    [1, 1], [2, 2], [3, 3],
  ])('at VMPL%i has no say over that level (RMPADJUST FAIL_PERMISSION)', (vmpl, target) => {
    expect(reported((asm) => {
      asm.set(rax, 0x100_0000)
      asm.set(rcx, 0)
      asm.set(rdx, target)
      asm.plain('rmpadjust')
      asm.move(rbx, rax)
    }, { svsm: { vmpl } })).toBe(2)
  })

  it('is told of VMPLs by the host', () => {
    expect(reported((asm) => {
      request(asm, BigInt(GhcbMsr.HV_FEATURES_REQ))
      asm.plain('rdmsr')
      asm.shiftRight(rax, 12)
      asm.move(rbx, rax)
    }, { svsm })).toBe(Number(HvFeatures.mask.SNP | HvFeatures.mask.AP_CREATION | HvFeatures.mask.MULTI_VMPL))
  })

  it.each([
    ['as they are', undefined], ['protected', SevFeatures.mask.VmsaRegProt],
  ])('calls the SVSM by running VMPL0, and finds its answer in the registers, %s', (_, sevFeatures) => {
    const area = callingArea()
    const machine = create((asm) => {
      queryProtocol(asm, area)
      asm.move(rbx, rcx)
      asm.shiftRight(rcx, 32)
      asm.shiftLeft(rcx, 4)
      asm.alu('or', rbx, rcx)
      asm.load(rcx, r8, SvsmCallingArea.offset.callPending, 1)
      asm.alu('or', rbx, rcx)
      asm.alu('or', rbx, rax)
      report(asm)
    }, { sevFeatures })
    expect(messageOf(machine)).toMatch(/reason 0x11/)
    expect(machine.stats().svsm?.requests).toMatchObject({ 'core.query-protocol': 1 })
  })

  it.each([[0, 0], [1, 1], [3, 1], [7, 1]])('may have VMPL%i run only where there is one', (vmpl, error) => {
    expect(reported((asm) => {
      request(asm, runVmpl(vmpl))
      asm.plain('rdmsr')
      asm.move(rbx, rdx)
    }, { svsm })).toBe(error)
  })

  it('runs the same with either engine, and every time', () => {
    const runs = (['interp', 'jit', 'jit'] as const).map((engine) => {
      const machine = create((asm) => { report(asm) }, { engine, traceHash: true, accept: 'eager' })
      messageOf(machine)
      const { traceHash, instructions, virtualTime, svsm } = machine.stats()
      return { traceHash, instructions, virtualTime, svsm }
    })
    expect(runs[0].svsm?.requests['core.pvalidate']).toBeGreaterThan(0)
    expect(runs[1]).toEqual(runs[0])
    expect(runs[2]).toEqual(runs[0])
  })

  it('goes on from a snapshot, with its SVSM', async () => {
    const area = callingArea()
    /** Calls the SVSM for ever. */
    const code: Code = (asm) => {
      asm.label('again')
      queryProtocol(asm, area)
      asm.jump('again')
    }
    const straight = create(code, { vcpus: 2, traceHash: true })
    for (const instructions of [3000, 120_000, 4001]) {
      straight.run({ instructions })
      const file = await encodeSnapshot(straight.snapshot())
      const copy = (await decodeSnapshot(file)).fork({ traceHash: true, svsm: { vmpl: 2 } })
      expect(copy.snapshot().state).toEqual(straight.snapshot().state)
      for (const machine of [straight, copy]) machine.run({ instructions: 1500 })
      expect(copy.snapshot().state).toEqual(straight.snapshot().state)
      expect(copy.stats().traceHash).toBe(straight.stats().traceHash)
    }
    expect(straight.stats().svsm?.requests['core.query-protocol']).toBeGreaterThan(10)
  })

  it('is not launched at a level that there is not', () => {
    expect(() => create(() => undefined, { svsm: { vmpl: 4 } })).toThrow('level: 4; expected 1, 2 or 3')
  })
})
