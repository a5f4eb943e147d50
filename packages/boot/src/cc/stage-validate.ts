/** How the boot stage validates a page: by PVALIDATE at VMPL0, else by the SVSM; and what it must know for that. */
import {
  CpuidFunction, CpuidPageHeader, GhcbMsr, Msr, RmpPageSize, RmpStatus, SecretsPage, SvsmCallingArea, SvsmCoreCall,
  SvsmPvalidateEntry, SvsmResult,
} from '@cofferdam/spec'
import { Reg, type Assembler } from './assembler.ts'
import { HEADER_BYTES } from './stage-host.ts'
import { NEEDS_NO_TOUCH, StageParameters } from './stage-parameters.ts'

const { rax, rcx, rdx, rbx, rsi, rdi, r8, r10, r11, r12, r15 } = Reg

/** R15: the SVSM's calling area, 0 at VMPL0 (58019 §4: the secrets page names the SVSM). */
export function findSvsm(a: Assembler): void {
  a.load(rsi, rbx, StageParameters.offset.secrets)
  a.set(r15, 0)
  a.load(rax, rsi, SecretsPage.offset.svsmSize)
  a.aluImmediate('cmp', rax, 0)
  a.jumpIf('e', 'svsm known')
  a.load(r15, rsi, SecretsPage.offset.svsmCaa)
  a.label('svsm known')
}

/**
 * R8: bit 31 of CPUID Fn8000_001F EBX from the CPUID page, COHERENCY_SFW_NO: clear on processors where a page must be
 * evicted from the caches after it was validated (Linux 7b306dfa326f).
 */
export function findCoherency(a: Assembler): void {
  a.load(rsi, rbx, StageParameters.offset.cpuid)
  a.load(rcx, rsi, CpuidPageHeader.offset.count, 4)
  a.set(r8, 0)
  a.aluImmediate('cmp', rcx, 64)
  a.jumpIf('a', 'coherency known')
  a.label('next function')
  a.aluImmediate('sub', rcx, 1)
  a.jumpIf('b', 'coherency known')
  a.load(rax, rsi, CpuidPageHeader.size + CpuidFunction.offset.eaxIn, 4)
  a.load(r8, rsi, CpuidPageHeader.size + CpuidFunction.offset.ebx, 4)
  a.aluImmediate('add', rsi, CpuidFunction.size)
  a.set(rdx, 0x8000_001f)
  a.alu('cmp', rax, rdx)
  a.jumpIf('e', 'coherency found')
  a.set(r8, 0)
  a.jump('next function')
  a.label('coherency found')
  a.shiftRight(r8, 31)
  a.label('coherency known')
  a.store(rbx, NEEDS_NO_TOUCH, r8)
}

/** Validates page RDI of size R10 (R11 1), or takes it back (R11 0): by PVALIDATE or by the SVSM. */
export function validate(a: Assembler): void {
  a.label('validate')
  a.aluImmediate('cmp', r15, 0)
  a.jumpIf('ne', 'by svsm')
  a.move(rax, rdi)
  a.shiftLeft(rax, 12)
  a.move(rcx, r10)
  a.move(rdx, r11)
  a.plain('pvalidate')
  // CF: nothing changed, so the page was validated before, at another address perhaps (APM vol. 3, PVALIDATE).
  a.jumpIf('b', 'fail pvalidate')
  a.aluImmediate('cmp', rax, RmpStatus.SUCCESS)
  a.jumpIf('e', 'validated')
  a.aluImmediate('cmp', rax, RmpStatus.FAIL_SIZEMISMATCH)
  a.jumpIf('ne', 'fail pvalidate')
  a.label('smaller')
  a.aluImmediate('cmp', r10, RmpPageSize.SIZE_2M)
  a.jumpIf('ne', 'fail pvalidate')
  a.set(r10, RmpPageSize.SIZE_4K)
  a.set(r12, 512)
  a.label('smaller next')
  a.call('validate')
  a.aluImmediate('add', rdi, 1)
  a.aluImmediate('sub', r12, 1)
  a.jumpIf('ne', 'smaller next')
  a.plain('ret')
  touch(a)
}

/** First and last line of each page that was validated, unless the processor says that they need not be touched. */
function touch(a: Assembler): void {
  a.label('validated')
  a.aluImmediate('cmp', r11, 0)
  a.jumpIf('e', 'touched')
  a.load(rax, rbx, NEEDS_NO_TOUCH)
  a.aluImmediate('cmp', rax, 0)
  a.jumpIf('ne', 'touched')
  a.move(rdx, rdi)
  a.shiftLeft(rdx, 12)
  a.set(rcx, 1)
  a.aluImmediate('cmp', r10, RmpPageSize.SIZE_4K)
  a.jumpIf('e', 'touch next')
  a.set(rcx, 512)
  a.label('touch next')
  a.load(rax, rdx, 0, 1)
  a.load(rax, rdx, 4095, 1)
  a.aluImmediate('add', rdx, 4096)
  a.aluImmediate('sub', rcx, 1)
  a.jumpIf('ne', 'touch next')
  a.label('touched')
  a.plain('ret')
}

/** SVSM_CORE_PVALIDATE of one entry through the calling area at R15, by the MSR protocol (58019 §5 and §7.1.2). */
export function validateBySvsm(a: Assembler): void {
  const buffer = SvsmCallingArea.offset.buffer
  a.label('by svsm')
  a.set(rax, 1)
  a.store(r15, buffer, rax)
  a.move(rax, rdi)
  a.shiftLeft(rax, 12)
  a.alu('or', rax, r10)
  a.move(rcx, r11)
  a.shiftLeft(rcx, SvsmPvalidateEntry.shift.validate)
  a.alu('or', rax, rcx)
  a.store(r15, buffer + HEADER_BYTES, rax)
  a.label('svsm again')
  a.set(rax, GhcbMsr.RUN_VMPL_REQ)
  a.set(rdx, 0)
  a.set(rcx, Msr.AMD_SEV_ES_GHCB)
  a.plain('wrmsr')
  a.set(rax, 1)
  a.store(r15, SvsmCallingArea.offset.callPending, rax, 1)
  a.set(rax, SvsmCoreCall.PVALIDATE)
  a.move(rcx, r15)
  a.aluImmediate('add', rcx, buffer)
  a.plain('vmgexit')
  // A call that is still pending did not reach the SVSM.
  a.set(rdx, 0)
  a.exchangeByte(r15, SvsmCallingArea.offset.callPending, rdx)
  a.aluImmediate('cmp', rdx, 0)
  a.jumpIf('ne', 'fail svsm')
  a.aluImmediate('cmp', rax, SvsmResult.SUCCESS)
  a.jumpIf('e', 'validated')
  for (const retried of [SvsmResult.INCOMPLETE, SvsmResult.BUSY]) {
    a.set(rcx, retried)
    a.alu('cmp', rax, rcx)
    a.jumpIf('e', 'svsm again')
  }
  a.set(rcx, SvsmResult.PROTOCOL_BASE + RmpStatus.FAIL_SIZEMISMATCH)
  a.alu('cmp', rax, rcx)
  a.jumpIf('e', 'smaller')
  a.jump('fail svsm')
}
