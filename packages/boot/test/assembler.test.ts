import { describe, expect, it } from 'vitest'
import { createAssembler, Reg, type Assembler } from '../src/index.ts'

const { rax, rcx, rdx, rsp, rdi, r12, r15 } = Reg

/** Hexadecimal bytes of what `write` assembles. */
function bytesOf(write: (a: Assembler) => void): string {
  const a = createAssembler()
  write(a)
  return [...a.assemble()].map((b) => b.toString(16).padStart(2, '0')).join(' ')
}

describe('createAssembler', () => {
  // The right column is GNU objdump's, which names these bytes as the left column does.
  it.each<[string, (a: Assembler) => void, string]>([
    ['mov eax, 2', (a) => { a.set(rax, 2) }, 'b8 02 00 00 00'],
    ['mov r15d, 0', (a) => { a.set(r15, 0) }, '41 bf 00 00 00 00'],
    ['movabs rcx, 1 << 56', (a) => { a.set(rcx, 1n << 56n) }, '48 b9 00 00 00 00 00 00 00 01'],
    ['mov r12, rdx', (a) => { a.move(r12, rdx) }, '49 89 d4'],
    ['mov rax, [r12+8]', (a) => { a.load(rax, r12, 8) }, '49 8b 84 24 08 00 00 00'],
    ['mov rax, [rsp]', (a) => { a.load(rax, rsp) }, '48 8b 84 24 00 00 00 00'],
    ['mov eax, [rdi-4]', (a) => { a.load(rax, rdi, -4, 4) }, '40 8b 87 fc ff ff ff'],
    ['movzx rcx, word [rdi]', (a) => { a.load(rcx, rdi, 0, 2) }, '48 0f b7 8f 00 00 00 00'],
    ['mov [r15], al', (a) => { a.store(r15, 0, rax, 1) }, '41 88 87 00 00 00 00'],
    ['mov [rdi+2], cx', (a) => { a.store(rdi, 2, rcx, 2) }, '66 40 89 8f 02 00 00 00'],
    ['xchg [r15], dl', (a) => { a.exchangeByte(r15, 0, rdx) }, '41 86 97 00 00 00 00'],
    ['cmp r12, rax', (a) => { a.alu('cmp', r12, rax) }, '49 39 c4'],
    ['sub rcx, 1', (a) => { a.aluImmediate('sub', rcx, 1) }, '48 81 e9 01 00 00 00'],
    ['shr rax, 12', (a) => { a.shiftRight(rax, 12) }, '48 c1 e8 0c'],
    ['jmp r12', (a) => { a.jumpTo(r12) }, '41 ff e4'],
    ['pvalidate', (a) => { a.plain('pvalidate') }, 'f2 0f 01 ff'],
    ['vmgexit', (a) => { a.plain('vmgexit') }, 'f3 0f 01 d9'],
  ])('encodes %s', (_, write, expected) => {
    expect(bytesOf(write)).toBe(expected)
  })

  it('leads jumps forward and backward to their labels', () => {
    expect(bytesOf((a) => {
      a.label('top')
      a.jumpIf('ne', 'end')
      a.jump('top')
      a.label('end')
    })).toBe('0f 85 05 00 00 00 e9 f5 ff ff ff')
  })

  it('refuses labels that stand twice or nowhere, and immediates that do not fit', () => {
    expect(() => bytesOf((a) => { a.jump('nowhere') })).toThrow('no label nowhere')
    expect(() => bytesOf((a) => {
      a.label('x')
      a.label('x')
    })).toThrow('stands twice')
    expect(() => bytesOf((a) => { a.aluImmediate('add', rax, 2 ** 31) })).toThrow('no signed 32-bit value')
  })
})
