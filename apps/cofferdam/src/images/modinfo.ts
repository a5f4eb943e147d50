import { inputError } from '../errors.ts'

/** What a kernel module says of itself. */
export interface ModuleInfo {
  /** With underscores, as the kernel has it. */
  readonly name: string
  /** Modules that must be loaded before. */
  readonly depends: readonly string[]
  /** Patterns of what it serves, such as `virtio:d00000002v*` or `fs-ext4`. */
  readonly aliases: readonly string[]
}

/** A module's name from its file's name: `virtio-rng.ko.xz` is `virtio_rng`. */
export const moduleName = (path: string): string =>
  path.replace(/^.*\//, '').replace(/\.ko(\.\w+)?$/, '').replaceAll('-', '_')

/** The `key=value` strings of a section of a 64-bit little-endian ELF file (System V ABI, chapter 4). */
const sectionStrings = (file: string, bytes: Uint8Array, wanted: string): string[] => {
  const fail = (field: string): Error => inputError(`module ${file}`, field, 'a kernel module, a 64-bit ELF file')
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.length < 64 || view.getUint32(0) !== 0x7f454c46 || view.getUint8(4) !== 2) throw fail('header')
  const u64 = (at: number): number => Number(view.getBigUint64(at, true))
  const u16 = (at: number): number => view.getUint16(at, true)
  const [table, size, count, names] = [u64(40), u16(58), u16(60), u16(62)]
  if (size < 64 || table + size * count > bytes.length || names >= count) throw fail('section headers')
  const sections = Array.from({ length: count }, (_, index) => {
    const at = table + index * size
    return { name: view.getUint32(at, true), start: u64(at + 24), length: u64(at + 32) }
  })
  const text = (start: number): string => {
    const end = bytes.indexOf(0, start)
    return new TextDecoder('latin1').decode(bytes.subarray(start, end < 0 ? bytes.length : end))
  }
  const found = sections.find(({ name }) => text((sections[names]?.start ?? 0) + name) === wanted)
  if (found === undefined) throw fail(wanted)
  const content = bytes.subarray(found.start, found.start + found.length)
  return new TextDecoder('latin1').decode(content).split('\0').filter(Boolean)
}

/**
 * Reads a module's `.modinfo` (Linux include/linux/module.h, MODULE_INFO).
 * @throws an input error when the file is no kernel module
 */
export const readModuleInfo = (file: string, bytes: Uint8Array): ModuleInfo => {
  const values = (key: string, strings: readonly string[]): string[] =>
    strings.filter((line) => line.startsWith(`${key}=`)).map((line) => line.slice(key.length + 1))
  const strings = sectionStrings(file, bytes, '.modinfo')
  return {
    name: moduleName(file),
    depends: values('depends', strings)
      .flatMap((list) => list.split(','))
      .filter(Boolean)
      .map((name) => name.replaceAll('-', '_')),
    aliases: values('alias', strings),
  }
}
