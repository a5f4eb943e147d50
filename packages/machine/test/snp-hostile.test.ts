import { Reg } from '@cofferdam/boot'
import type { Assembler } from '@cofferdam/boot'
import { describe, expect, it } from 'vitest'
import { createMachine } from '../src/index.ts'
import type { HostileMode, HostileOption, MachineOptions } from '../src/index.ts'
import { bzImage } from './kernels.ts'
import { handleVc, msrProtocol, OWN, report } from './snp-code.ts'

const { rax, rbx, rcx, rdx, r8, r9, r10 } = Reg
const MiB = 2 ** 20
const LARGE = 2 * MiB
const MARKER = 0x5ec2_e75e_c2e7_5ec3n
/** The kernel's data, a word in each large page. */
const DATA = { start: 32 * MiB, end: 112 * MiB } as const

/** Has #VC reported: bits 11:4 of its error code. */
function reportVc(asm: Assembler): void {
  asm.bytes(0x5b) // pop rbx: the error code
  asm.shiftRight(rbx, 4)
  report(asm)
}

/** Writes its data, then reads them again and again; it reports FFh when they are not what it wrote. */
function kernel(asm: Assembler): void {
  handleVc(asm, reportVc)
  asm.set(r9, MARKER)
  const eachPage = (name: string, act: () => void): void => {
    asm.set(r8, DATA.start)
    asm.label(name)
    act()
    asm.aluImmediate('add', r8, LARGE)
    asm.set(rax, DATA.end)
    asm.alu('cmp', r8, rax)
    asm.jumpIf('ne', name)
  }
  eachPage('write', () => { asm.store(r8, 0, r9) })
  asm.label('again')
  eachPage('read', () => {
    asm.load(r10, r8)
    asm.alu('cmp', r10, r9)
    asm.jumpIf('ne', 'changed')
  })
  asm.set(rax, 0x80) // the host's features: an exit
  asm.set(rdx, 0)
  msrProtocol(asm)
  asm.jump('again')
  asm.label('changed')
  asm.set(rbx, 0xff)
  report(asm)
}

function run(
  hostile: readonly HostileOption[], code: (asm: Assembler) => void = kernel, more: Partial<MachineOptions> = {},
) {
  const machine = createMachine({
    kernel: bzImage(code), append: '', memory: 128 * MiB, vcpus: 1, seed: 1, engine: 'auto', cpu: 'amd', cc: 'snp',
    accept: 'eager', hostile, onSerial: () => undefined, ...more,
  })
  const result = machine.run({ instructions: 3e6 })
  const { snp, unvalidatedAccesses } = machine.stats()
  const message = 'message' in result ? result.message : result.reason
  return { message, unvalidatedAccesses, deeds: snp?.hostile, did: snp?.hostile?.[0]?.did, exits: snp?.exits }
}
const attack = (mode: HostileMode, code?: (asm: Assembler) => void) => run([{ mode, at: 200_000 }], code)
const reason = (value: number): RegExp => new RegExp(`set ${OWN} reason 0x${value.toString(16)}`)

describe('a guest whose host is hostile', () => {
  it('finds nothing as long as the host does nothing', () => {
    expect(run([{ mode: 'unmap', at: 1e12 }])).toMatchObject({ message: 'budget', did: null, unvalidatedAccesses: 0 })
  })

  it.each(['unmap', 'replay'] as const)('gets #VC for a page that was taken and came back (%s)', (mode) => {
    const { message, did, unvalidatedAccesses } = attack(mode)
    expect(message).toMatch(reason(0x40))
    // More than once where exits interrupt #VC's delivery: the access raises it again.
    expect(unvalidatedAccesses).toBeGreaterThan(0)
    expect(did).toMatch(mode === 'unmap' ? /^took the private page at 0x\w+ away/ : /^put back what had been at 0x\w+ 2\d{6} instructions before/)
  })

  it('goes no further at a page that is mapped to another (remap)', () => {
    const { message, did } = attack('remap')
    expect(message).toMatch(/makes no progress: 1000 times in a row a read of private memory at (0x\w+)000 \(P U RMP final ENC\): the RMP refuses it/)
    // The page behind is another address's.
    expect(message).toMatch(/; RMP entry of 0x\w+: guest-valid, 4K, asid 1, gpa 0x\w+, VMPL0 /)
    expect(did).toMatch(/^mapped 0x\w+ to the page that belongs at 0x/)
  })

  it('reads garbage where bits of its ciphertext were flipped, and nobody says so (flip)', () => {
    const { message, did, unvalidatedAccesses } = attack('flip')
    expect(message).toMatch(reason(0xff))
    expect([did?.replace(/0x\w+/, ''), unvalidatedAccesses])
      .toEqual([expect.stringMatching(/^flipped bit \d of the ciphertext/), 0])
  })

  it('gets #VC for an instruction that it has not executed (inject-vc)', () => {
    const { message, did } = attack('inject-vc')
    const codes: Readonly<Record<string, number>> = { VMMCALL: 0x81, CPUID: 0x72, MSR: 0x7c, IOIO: 0x7b }
    const code = codes[/of (\w+)$/.exec(did ?? '')?.[1] ?? '']
    expect(message).toMatch(reason(code >> 4))
  })

  it('takes an interrupt that nobody sent, and shuts down without a handler (inject-int80)', () => {
    const { message, did } = attack('inject-int80')
    expect([did, message]).toEqual(['injected vector 0x80 as an interrupt', expect.stringMatching(/triple fault/)])
  })

  /** Makes a page shared and private again, and validates it; reports what the host answers, if it is not 0. */
  const change = (asm: Assembler): void => {
    const page = 0x3000 // in pages, as requests have it: 48 MiB
    const request = (operation: bigint): void => {
      const value = operation << 52n | BigInt(page) << 12n | 0x14n
      asm.set(rax, value & 0xffff_ffffn)
      asm.set(rdx, value >> 32n)
      msrProtocol(asm)
      asm.plain('rdmsr')
      asm.move(rbx, rdx)
      asm.set(rax, 0)
      asm.alu('cmp', rbx, rax)
      asm.jumpIf('ne', 'refused')
    }
    const validate = (to: number): void => {
      asm.set(rax, page * 4096)
      asm.set(rcx, 0)
      asm.set(rdx, to)
      asm.plain('pvalidate')
    }
    asm.label('change')
    validate(0)
    request(2n)
    request(1n)
    validate(1)
    asm.jump('change')
    asm.label('refused')
    asm.shiftRight(rbx, 24)
    report(asm)
  }

  it('hears that a page state change failed (refuse-psc)', () => {
    const { message, did } = attack('refuse-psc', change)
    expect(did).toMatch(/^refused to make 4 KiB at 0x3000000 (private|shared)$/)
    expect(message).toMatch(reason(0x80))
  })

  it('goes no further with a page whose state the host says it has changed (lie-psc)', () => {
    const { message, did, exits } = attack('lie-psc', change)
    expect(did).toBe('said that it had made 4 KiB at 0x3000000 private, and did nothing')
    expect(message).toMatch(/no progress: 1000 times in a row a read of private memory at 0x3000000 .*: .*the entry is not the host's to change; RMP entry of 0x\w+: hypervisor, 4K$/)
    expect(exits?.['npf:rmp'] ?? exits?.['npf:protection']).toBeGreaterThan(900)
  })

  /** Reports the low byte of CPUID leaf 0 EBX, as the host answers it and as the launch's table has it. */
  it('asks for CPUID in vain, and has the table that the firmware checked (cpuid)', () => {
    const ask = (asm: Assembler): void => {
      asm.set(rax, 1 << 30 | 4)
      asm.set(rdx, 0)
      asm.label('ask')
      msrProtocol(asm)
      asm.plain('rdmsr')
      asm.move(rbx, rdx)
      report(asm)
    }
    const answer = (message: string): number => Number(/reason (0x\w+)/.exec(message)?.[1])
    const honest = answer(run([], ask).message)
    expect(honest).toBe('A'.charCodeAt(0)) // AuthenticAMD
    const answers = [1, 2, 3, 4, 5, 6, 7, 8].map((seed) => run([{ mode: 'cpuid' }], ask, { seed }))
    for (const { did } of answers) {
      expect(did)
        .toMatch(/^claimed features that there are not in the CPUID page, and changed a bit of each CPUID answer/)
    }
    expect(answers.some(({ message }) => answer(message) !== honest)).toBe(true)
  })

  it('is attacked in the same way every time, and in another with another seed', () => {
    const once = run([{ mode: 'flip', at: 200_000 }])
    expect(run([{ mode: 'flip', at: 200_000 }])).toEqual(once)
    expect(run([{ mode: 'flip', at: 200_000 }], kernel, { seed: 3 }).did).not.toBe(once.did)
  })

  it('can be attacked in several ways by one host', () => {
    const { deeds } = run([{ mode: 'flip', at: 400_000 }, { mode: 'inject-vc', at: 200_000 }])
    expect(deeds?.map(({ mode, did }) => [mode, did !== null])).toEqual([['flip', false], ['inject-vc', true]])
  })

  it('has to be a guest with a host, and its attack one that there is', () => {
    expect(() => run([{ mode: 'flip' }], kernel, { cc: 'none' })).toThrow(/hostile: mode: a machine without a host/)
    expect(() => run([{ mode: 'tickle' as HostileMode }])).toThrow(/hostile: mode: tickle; expected one of refuse-psc/)
    expect(() => run([{ mode: 'flip', at: '' }])).toThrow(/hostile: moment: a text of 0 bytes/)
    expect(() => run([{ mode: 'flip', at: -1 }])).toThrow(/hostile: moment: -1/)
  })
})
