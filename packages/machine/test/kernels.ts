/** Kernels for tests: a few bytes each, or Debian's. */
/// <reference types="node" />
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createAssembler } from '@cofferdam/boot'
import type { Assembler } from '@cofferdam/boot'
import { SetupHeader } from '@cofferdam/spec'
import type { NamedBytes } from '../src/index.ts'

/** Where the code of `flatKernel` begins. */
export const ENTRY = 0x10_0020

/** A Multiboot kernel of flat 32-bit code, as hexadecimal bytes (spaces and `; comments` are skipped). */
export function flatKernel(code: string): NamedBytes {
  const load = 0x10_0000
  const header = Int32Array.of(0x1bad_b002, 0x1_0000, -(0x1bad_b002 + 0x1_0000), load, load, 0, 0, ENTRY)
  const digits = code.replaceAll(/;.*$/gm, '').replaceAll(/\s+/g, '')
  const bytes = digits.match(/../g)?.map((two) => Number.parseInt(two, 16)) ?? []
  return { name: 'flat', bytes: Uint8Array.of(...new Uint8Array(header.buffer), ...bytes) }
}

/** What a Debian kernel boots with, or why there is none here. */
export type Guest = { readonly kernel: NamedBytes, readonly initrd: NamedBytes } | { readonly missing: string }

const main = join(import.meta.dirname, '../../../apps/cofferdam/src/main.ts')

/** Runs the command line on the sources; its output, or what it complained about. */
function cofferdam(words: readonly string[]): Promise<{ stdout: string } | { missing: string }> {
  const args = ['--conditions=@cofferdam/source', main, ...words]
  return new Promise((resolve) => {
    execFile(process.execPath, args, { encoding: 'utf8', timeout: 300_000 }, (error, stdout, stderr) => {
      const complaint = stderr.trim().replaceAll('\n', ' ')
      resolve(error === null ? { stdout } : { missing: complaint === '' ? error.message : complaint })
    })
  })
}

/**
 * A kernel of the catalog of `cofferdam images` with the default initramfs: from the user's cache, fetched first where
 * apt can.
 */
export async function debianGuest(name: string): Promise<Guest> {
  const fetched = await cofferdam(['images', 'fetch', name])
  if ('missing' in fetched) return fetched
  const path = /^\S+ \S+ (.*)$/m.exec(fetched.stdout)?.[1] ?? ''
  const folder = mkdtempSync(join(tmpdir(), 'cofferdam-guest-'))
  const initramfs = join(folder, 'initramfs.cpio')
  const built = await cofferdam(['images', 'initramfs', initramfs])
  if ('missing' in built) return built
  const initrd = new Uint8Array(readFileSync(initramfs))
  rmSync(folder, { recursive: true })
  return {
    kernel: { name, bytes: new Uint8Array(readFileSync(path)) },
    initrd: { name: 'default initramfs', bytes: initrd },
  }
}

/** A bzImage whose 64-bit entry is the given code. */
export function bzImage(code: (asm: Assembler) => void): NamedBytes {
  const setup = 4 * 512
  const bytes = new Uint8Array(setup + 0x4000)
  SetupHeader.write(new DataView(bytes.buffer), {
    setupSects: 3, syssize: 0x400, bootFlag: 0xaa55, jump: 0x6aeb, header: 0x5372_6448, version: 0x20f, loadflags: 1,
    initrdAddrMax: 0x7fff_ffff, kernelAlignment: 0x20_0000, relocatableKernel: 1, xloadflags: 1, cmdlineSize: 2047,
    prefAddress: 0x100_0000n, initSize: 0x10_0000,
  })
  const asm = createAssembler()
  code(asm)
  bytes.set(asm.assemble(), setup + 0x200)
  return { name: 'tiny', bytes }
}
