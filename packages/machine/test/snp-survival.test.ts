import { Reg } from '@cofferdam/boot'
import type { Assembler } from '@cofferdam/boot'
import { describe, expect, it } from 'vitest'
import { createMachine } from '../src/index.ts'
import { bzImage } from './kernels.ts'
import { msrProtocol } from './snp-code.ts'

const { rax, rdx, r8 } = Reg

/** What the fuzzer (tools/fuzz, `survive --what snp`) has found. */
describe('a hostile SNP guest', () => {
  it('cannot make statistics grow by requests that nobody knows', () => {
    const machine = createMachine({
      kernel: bzImage((asm: Assembler) => {
        asm.set(r8, 0)
        asm.label('again')
        asm.set(rax, 0x1ab) // no code of the protocol, with other bits above each time
        asm.move(rdx, r8)
        asm.shiftLeft(rdx, 12)
        asm.alu('or', rax, rdx)
        asm.aluImmediate('add', r8, 1)
        asm.set(rdx, 0)
        msrProtocol(asm)
        asm.set(rax, 0x080) // HV_FEATURES, which defines no more bits
        asm.move(rdx, r8)
        msrProtocol(asm)
        asm.jump('again')
      }),
      append: '', memory: 64 * 2 ** 20, vcpus: 1, seed: 1, engine: 'auto', cpu: 'amd', cc: 'snp',
      onSerial: () => undefined,
    })
    expect(machine.run({ instructions: 1e5 })).toEqual({ reason: 'budget' })
    const { snp } = machine.stats()
    expect(snp?.malformed.others).toBeGreaterThan(100)
    expect(Object.keys(snp?.malformed ?? {}).length).toBe(201)
  })
})
