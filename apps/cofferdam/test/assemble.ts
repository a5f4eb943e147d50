/** Small 32-bit kernels from assembler text, by the machine's `as` and `ld`. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const works = (...command: readonly [string, ...string[]]): boolean => {
  try {
    execFileSync(command[0], command.slice(1), { stdio: 'pipe' })
    return true
  } catch {
    return false
  }
}

/** Why there is no assembler here; undefined when there is. */
export const assemblerMissing: string | undefined =
  works('as', '--32', '--version') && works('ld', '--version') ? undefined : 'no as and ld here'

/** Whether QEMU is here, to compare with. */
export const hasQemu: boolean = works('qemu-system-x86_64', '--version')

/** What every kernel has: `say` and `number` write to the first serial port. */
const runtime = `
.macro say text
  mov $9f, %esi
  call puts
  .section .rodata
9: .asciz "\\text"
  .text
.endm
.macro number text
  push %eax
  say "\\text: "
  pop %eax
  call hex
.endm
.text
puts:
  lodsb
  test %al, %al
  jz 1f
  mov $0x3f8, %dx
  out %al, %dx
  jmp puts
1: ret
newline:
  mov $10, %al
  mov $0x3f8, %dx
  out %al, %dx
  ret
hex:
  mov $8, %ecx
1: rol $4, %eax
  push %eax
  and $15, %eax
  mov digits(%eax), %al
  mov $0x3f8, %dx
  out %al, %dx
  pop %eax
  loop 1b
  jmp newline
.section .rodata
digits: .ascii "0123456789abcdef"
.text
`

/** A folder for kernels, removed by the function that it comes with. */
export const kernelFolder = (): { readonly folder: string; readonly remove: () => void } => {
  const folder = mkdtempSync(join(tmpdir(), 'cofferdam-kernels-'))
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) }
}

/** Assembles `source` to an ELF32 executable at 4 MiB; its entry is `_start`. Answers the file. */
export const assemble = (folder: string, name: string, source: string): string => {
  const [text, object, elf] = ['s', 'o', 'elf'].map((extension) => join(folder, `${name}.${extension}`)) as
    [string, string, string]
  writeFileSync(text, `${runtime}${source}\n`)
  execFileSync('as', ['--32', text, '-o', object])
  // The header of Multiboot lies within the first 8 KiB of the file.
  execFileSync('ld', ['-m', 'elf_i386', '-N', '--no-warn-rwx-segments', '-Ttext', '0x400000',
    '--section-start=.multiboot=0x3ff000', '--section-start=.note=0x3fe000', object, '-o', elf])
  return elf
}
