/**
 * The table of hashes that binds kernel, initrd and command line to the launch digest (QEMU target/i386/sev.c; edk2
 * OvmfPkg/AmdSev/BlobVerifierLibSevHashes).
 */
import { sha256 } from '@noble/hashes/sha2.js'
import { guidBytes, layout } from '@cofferdam/spec'
import { concat } from '../bytes.ts'

/** GUIDs of the table and its entries. */
export const KernelHashGuid = {
  TABLE: '9438d606-4f22-4cc9-b479-a793d411fd21',
  KERNEL: '4de79437-abd2-427f-b835-d5b172d2045b',
  INITRD: '44baf731-3a2f-4bd7-9af1-41e29169781d',
  CMDLINE: '97d02dd8-bd20-4c94-aa78-e7714d36ab2a',
} as const

/** An entry: its length counts itself. */
export const KernelHashEntry = layout(50, { guid: [0, 16], length: [16, 2], hash: [18, 32] })

/** The table: command line, initrd, kernel, padded to 16 bytes; `length` does not count the padding. */
export const KernelHashTable = layout(176, {
  guid: [0, 16], length: [16, 2], cmdline: [18, 50, 'bytes'], initrd: [68, 50, 'bytes'], kernel: [118, 50, 'bytes'],
})
const TABLE_BYTES = 168

/** What the loader hands to the firmware. */
export interface KernelFiles {
  readonly kernel: Uint8Array
  /** Empty when there is none. */
  readonly initrd?: Uint8Array
  readonly append?: string
}

/** The table's 176 bytes. */
export function kernelHashTable({ kernel, initrd = new Uint8Array(), append = '' }: KernelFiles): Uint8Array {
  const entry = (guid: string, bytes: Uint8Array): Uint8Array =>
    KernelHashEntry.create({ guid: guidBytes(guid), length: KernelHashEntry.size, hash: sha256(bytes) })
  return KernelHashTable.create({
    guid: guidBytes(KernelHashGuid.TABLE), length: TABLE_BYTES,
    cmdline: entry(KernelHashGuid.CMDLINE, concat(new TextEncoder().encode(append), Uint8Array.of(0))),
    initrd: entry(KernelHashGuid.INITRD, initrd), kernel: entry(KernelHashGuid.KERNEL, kernel),
  })
}

/** The page that holds the table at an address; everything else in it is zero. */
export function kernelHashPage(files: KernelFiles, tableGpa: number): Uint8Array {
  const page = new Uint8Array(4096)
  page.set(kernelHashTable(files).subarray(0, 4096 - (tableGpa % 4096)), tableGpa % 4096)
  return page
}
