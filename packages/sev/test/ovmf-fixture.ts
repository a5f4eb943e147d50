/** A small image with OVMF's tables, made from their documents. */
import { guidBytes } from '@cofferdam/spec'
import { KernelHashGuid, OvmfGuid, OvmfSectionType } from '../src/index.ts'

export interface ImageOptions {
  readonly sections?: readonly { type: number; gpa: number; size: number }[]
  readonly hashTable?: number
  readonly resetEip?: number
}

export const SECTIONS = [
  { type: OvmfSectionType.SEC_MEM, gpa: 0x80_0000, size: 0x9000 },
  { type: OvmfSectionType.SECRETS, gpa: 0x80_d000, size: 0x1000 },
  { type: OvmfSectionType.CPUID, gpa: 0x80_e000, size: 0x1000 },
  { type: OvmfSectionType.KERNEL_HASHES, gpa: 0x81_0000, size: 0x1000 },
  { type: OvmfSectionType.SEC_MEM, gpa: 0x81_1000, size: 0x2000 },
]

/** 8 KiB: a counting pattern, the metadata 0x200 bytes before the end, the table before the last 32 bytes. */
export function syntheticOvmf({ sections = SECTIONS, hashTable = 0x81_0c00, resetEip = 0x80_b004 }: ImageOptions = {}) {
  const bytes = Uint8Array.from({ length: 8192 }, (_, i) => (i * 7 + (i >> 8)) & 0xff)
  const view = new DataView(bytes.buffer)
  const meta = bytes.length - 0x200
  bytes.set(new TextEncoder().encode('ASEV'), meta)
  view.setUint32(meta + 4, 16 + 12 * sections.length, true)
  view.setUint32(meta + 8, 1, true)
  view.setUint32(meta + 12, sections.length, true)
  sections.forEach(({ type, gpa, size }, i) => {
    [gpa, size, type].forEach((word, n) => { view.setUint32(meta + 16 + 12 * i + 4 * n, word, true) })
  })
  let end = bytes.length - 32
  const put = (guid: string, size: number): void => {
    view.setUint16(end - 18, size, true)
    bytes.set(guidBytes(guid), end - 16)
    end -= 18
  }
  const entries: [string, number[]][] = [
    [OvmfGuid.SEV_ES_RESET_BLOCK, [resetEip]], [OvmfGuid.SEV_HASH_TABLE, [hashTable, 0x400]],
    [OvmfGuid.SEV_METADATA, [0x200]], [KernelHashGuid.TABLE, []],
  ]
  put(OvmfGuid.TABLE_FOOTER, 18 + entries.reduce((sum, [, words]) => sum + 18 + 4 * words.length, 0))
  for (const [guid, words] of entries) {
    put(guid, 18 + 4 * words.length)
    words.forEach((word, i) => { view.setUint32(end - 4 * words.length + 4 * i, word, true) })
    end -= 4 * words.length
  }
  return bytes
}
