/** Kernels for tests: a few bytes each, or Debian's. */
/// <reference types="node" />
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
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
function cofferdam(args: readonly string[]): Promise<{ stdout: string } | { missing: string }> {
  return new Promise((resolve) => {
    const options = { encoding: 'utf8', timeout: 300_000 } as const
    execFile(process.execPath, ['--conditions=@cofferdam/source', main, ...args], options, (error, stdout, stderr) => {
      resolve(error === null ? { stdout } : { missing: stderr.trim().replaceAll('\n', ' ') || error.message })
    })
  })
}

/**
 * A kernel of the catalog of `cofferdam images` with the default initramfs: from the user's cache, fetched first where apt
 * can.
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
