import { inputError } from '../errors.ts'

/**
 * The names of the shared libraries that an x86-64 ELF file needs (DT_NEEDED), and its interpreter's path
 * (PT_INTERP). System V ABI, chapters 4 and 5. A file that is not a 64-bit ELF needs none.
 * @param file - its name, for messages
 * @throws an input error when its headers name what is not in the file
 */
export const elfNeeds = (file: string, bytes: Uint8Array): { libraries: string[]; interpreter: string | undefined } => {
  const none = { libraries: [], interpreter: undefined }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.length < 64 || view.getUint32(0) !== 0x7f454c46 || view.getUint8(4) !== 2) return none
  const damaged = (field: string): Error =>
    inputError(`program ${file}`, field, `a place within its ${bytes.length} bytes`)
  const u64 = (at: number): number => Number(view.getBigUint64(at, true))
  const text = (at: number): string => {
    const end = bytes.indexOf(0, at)
    return new TextDecoder().decode(bytes.subarray(at, end < 0 ? bytes.length : end))
  }
  const table = u64(32)
  const [size, count] = [view.getUint16(54, true), view.getUint16(56, true)]
  if (count > 0 && (size < 56 || table + size * count > bytes.length)) throw damaged('program headers')
  const headers = Array.from({ length: count }, (_, index) => {
    const at = table + index * size
    return { type: view.getUint32(at, true), offset: u64(at + 8), address: u64(at + 16), size: u64(at + 32) }
  })
  const fileOffset = (address: number): number => {
    const holder = headers.find((h) => h.type === 1 && address >= h.address && address < h.address + h.size)
    return holder ? address - holder.address + holder.offset : 0
  }
  const interp = headers.find((h) => h.type === 3)
  const dynamic = headers.find((h) => h.type === 2)
  if (dynamic && dynamic.offset + dynamic.size > bytes.length) throw damaged('dynamic section')
  const tags: { tag: number; value: number }[] = []
  for (let at = dynamic?.offset ?? 0; dynamic && at + 16 <= dynamic.offset + dynamic.size; at += 16) {
    tags.push({ tag: u64(at), value: u64(at + 8) })
  }
  const strings = fileOffset(tags.find(({ tag }) => tag === 5)?.value ?? 0)
  const libraries = tags.filter(({ tag }) => tag === 1).map(({ value }) => text(strings + value))
  return { libraries, interpreter: interp && text(interp.offset) }
}
