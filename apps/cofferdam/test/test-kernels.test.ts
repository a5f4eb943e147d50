import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { assemble, assemblerMissing, hasQemu, kernelFolder } from './assemble.ts'
import { runReal } from './real.ts'
import { describeUnless } from './unless.ts'

const { folder, remove } = kernelFolder()
afterAll(remove)
const sourceOf = (name: string): string => readFileSync(join(import.meta.dirname, 'kernels', `${name}.s`), 'utf8')
const moduleFile = join(folder, 'module')
writeFileSync(moduleFile, 'MODULE and more')

/** Every device of test kernels. */
const devices = ['--device', 'isa-debug-exit,iobase=0xf4,iosize=4', '--device', 'pc-testdev', '--device', 'pci-testdev']
const boot = (kernel: string, ...more: string[]): ReturnType<typeof runReal> =>
  runReal(['--kernel', kernel, '--memory', '64M', '--timeout', '60', ...devices, ...more])

/** The same kernel in QEMU: its output and its status. */
const inQemu = (kernel: string, append: string): { readonly code: number | null; readonly out: string } => {
  const serial = join(folder, 'serial')
  const { status } = spawnSync('qemu-system-x86_64', [
    '-machine', 'q35', '-accel', 'tcg', '-m', '64', '-nodefaults', '-display', 'none', '-serial', `file:${serial}`,
    '-kernel', kernel,
    '-initrd', moduleFile, '-append', append, ...devices.map((word) => word.replace('--', '-')),
  ], { timeout: 60_000 })
  return { code: status, out: readFileSync(serial, 'latin1') }
}

const multibootSays = `magic: 2badb002
command line: a=1 b
modules: 00000001
module bytes: 0000000f
module offset in its page: 00000000
module begins: 55444f4d
type of the memory at 1 MiB: 00000001
MiB: 00000040
.bss: 00000000
fw_cfg: 554d4551
processors: 00000001
RAM: 04000000
DMA control: 00000000
DMA data: 554d4551
word: 00001234
memory: 00005a00
line 5: 00000020
pci-testdev: 00051b36
decoding: 00000003
mmio-no-eventfd
counted: 00000002
`

const pvhSays = `magic: 336ec578
version: 00000001
modules: 00000001
module bytes: 0000000f
module begins: 55444f4d
command line: a=1 b
RSDP: 20445352
type of the memory at 1 MiB: 00000001
CR0: 00000001
CS: 00c09a00
RSDT: 54445352
`

describeUnless(assemblerMissing, 'a test kernel', () => {
  it('enters by Multiboot with memory map, command line and module, and has its devices', async () => {
    const kernel = assemble(folder, 'multiboot', sourceOf('multiboot'))
    const { code, out, err } = await boot(kernel, '--initrd', moduleFile, '--append', 'a=1 b')
    expect(out, err).toBe(multibootSays)
    expect(code).toBe(0x15 * 2 + 1)
    if (hasQemu) expect(inQemu(kernel, 'a=1 b')).toEqual({ code, out })
  })

  it('enters by PVH with hvm_start_info', async () => {
    const kernel = assemble(folder, 'pvh', sourceOf('pvh'))
    const { code, out, err } = await boot(kernel, '--initrd', moduleFile, '--append', 'a=1 b')
    // With an initramfs it may be Linux.
    expect(out.replace('console=ttyS0,115200 panic=-1 ', ''), err).toBe(pvhSays)
    expect(code).toBe(7)
    if (hasQemu) expect(inQemu(kernel, 'a=1 b')).toEqual({ code, out: pvhSays })
  })

  it('gets the command line alone, by PVH too, where there is no initramfs', async () => {
    const kernel = assemble(folder, 'line', `
      .section .note, "a", @note
      .long 4, 4, 18
      .asciz "Xen"
      .long _start
      .text
      .globl _start
      _start:
      mov $stack, %esp
      mov 24(%ebx), %esi
      call puts
      out %al, $0xf4
      .bss
      .space 64
      stack:`)
    const { code, out, err } = await boot(kernel, '--initrd', 'none', '--append', 'selftest -x')
    expect({ code, out }, err).toEqual({ code: 1, out: 'selftest -x' })
  })

  it('that crashes leaves with 3, and says where', async () => {
    const kernel = assemble(folder, 'crash', `
      .section .multiboot, "a"
      .long 0x1badb002, 0, -0x1badb002
      .text
      .globl _start
      _start: lidt 1f
      ud2
      1: .word 0
      .long 0`)
    const { code, err } = await boot(kernel)
    expect(code).toBe(3)
    expect(err).toMatch(/vCPU 0: triple fault/)
    expect(err).toContain('RIP 0x000000000040')
  })
})
