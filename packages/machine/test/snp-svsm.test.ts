import { Reg, snpDirectBoot } from '@cofferdam/boot'
import type { Assembler } from '@cofferdam/boot'
import { GhcbMsr, HvFeatures, Msr, SevFeatures, SvsmCallingArea, SvsmCoreCall } from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import { createMachine } from '../src/index.ts'
import type { Machine, MachineOptions } from '../src/index.ts'
import { bzImage } from './kernels.ts'
import { reasonOf, report } from './snp-code.ts'

const { rax, rbx, rcx, rdx, r8 } = Reg
const MiB = 2 ** 20
const MEMORY = 64 * MiB
const create = (code: (asm: Assembler) => void, options: Partial<MachineOptions> = {}): Machine => createMachine({
  kernel: bzImage(code), append: '', memory: MEMORY, vcpus: 1, seed: 1, engine: 'auto', cpu: 'amd', cc: 'snp',
  svsm: { vmpl: 2 }, onSerial: () => undefined, ...options,
})

/** Where the guest finds its calling area. */
const callingArea = (): number => snpDirectBoot({
  kernel: bzImage(() => undefined).bytes, cmdline: '', memory: MEMORY, cBit: 51, acpi: { apicIds: [0] }, accept: 'lazy',
  callingArea: true,
}).callingArea ?? 0

function exitBy(asm: Assembler, msr: bigint): void {
  asm.set(rdx, Number(msr >> 32n))
  asm.set(rax, Number(msr & 0xffff_ffffn))
  asm.set(rcx, Msr.AMD_SEV_ES_GHCB)
  asm.plain('wrmsr')
}

function messageOf(machine: Machine): string {
  const result = machine.run({ instructions: 5e6 })
  return 'message' in result ? result.message : result.reason
}

/** What the kernel leaves in the low byte of RBX. */
function reported(code: (asm: Assembler) => void, options?: Partial<MachineOptions>): number {
  const message = messageOf(create((asm) => {
    code(asm)
    report(asm)
  }, options))
  expect(reasonOf(message), message).not.toBeNaN()
  return reasonOf(message)
}

const runVmpl = (vmpl: number): bigint => BigInt(GhcbMsr.RUN_VMPL_REQ) | BigInt(vmpl) << 32n

describe('an SNP guest under an SVSM', () => {
  it('may not PVALIDATE by itself', () => {
    expect(messageOf(create((asm) => {
      asm.set(rax, 0x100_0000)
      asm.set(rcx, 0)
      asm.set(rdx, 1)
      asm.plain('pvalidate')
    }))).toMatch(/triple fault/)
  })

  it.each([[1, 1], [2, 2], [3, 3]])('at VMPL%i has no say over that level (RMPADJUST FAIL_PERMISSION)', (vmpl, target) => {
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
      exitBy(asm, BigInt(GhcbMsr.HV_FEATURES_REQ))
      asm.plain('vmgexit')
      asm.plain('rdmsr')
      asm.shiftRight(rax, 12)
      asm.move(rbx, rax)
    })).toBe(Number(HvFeatures.mask.SNP | HvFeatures.mask.AP_CREATION | HvFeatures.mask.MULTI_VMPL))
  })

  it.each([
    ['as they are', undefined], ['protected', SevFeatures.mask.VmsaRegProt],
  ])('calls the SVSM by running VMPL0, and finds its answer in the registers, %s', (_, sevFeatures) => {
    const area = callingArea()
    const machine = create((asm) => {
      exitBy(asm, runVmpl(0))
      asm.set(r8, area)
      asm.set(rax, 1)
      asm.store(r8, SvsmCallingArea.offset.callPending, rax, 1)
      asm.set(rax, SvsmCoreCall.QUERY_PROTOCOL)
      asm.set(rcx, 1)
      asm.plain('vmgexit')
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
      exitBy(asm, runVmpl(vmpl))
      asm.plain('vmgexit')
      asm.set(rcx, Msr.AMD_SEV_ES_GHCB)
      asm.plain('rdmsr')
      asm.move(rbx, rdx)
    })).toBe(error)
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

  it('is not launched at a level that there is not', () => {
    expect(() => create(() => undefined, { svsm: { vmpl: 4 } })).toThrow('level: 4; expected 1, 2 or 3')
  })
})
