/** The Linux bzImage: setup sectors, then the protected-mode kernel (Linux Documentation/arch/x86/boot.rst). */
import { BOOT_FLAG, BootParams, HEADER_MAGIC, LoadFlags, SetupHeader, XLoadFlags,
  type LayoutRecord } from '@cofferdam/spec'
import { BootError, hex } from './error.ts'

/** The setup header's fields by name; 64-bit ones are bigints. */
export type SetupHeaderFields = LayoutRecord<(typeof SetupHeader)['fields']>

/** How the payload is compressed, by its first bytes (Linux lib/decompress.c). */
export type PayloadFormat = 'gzip' | 'bzip2' | 'lzma' | 'xz' | 'lzo' | 'lz4' | 'zstd' | 'elf' | 'unknown'

/** A checked bzImage. */
export interface BzImage {
  /** Protocol version, 0x020f is 2.15. */
  readonly version: number
  readonly header: SetupHeaderFields
  /** Bytes 0x1f1 to the header's end, as boot_params wants them. */
  readonly headerBytes: Uint8Array
  /** The protected-mode kernel. */
  readonly kernel: Uint8Array
  /** Where the kernel wants to be, and the memory it needs from there before it reads the memory map. */
  readonly prefAddress: number
  readonly initSize: number
  readonly alignment: number
  readonly relocatable: boolean
  /** The 64-bit entry, relative to where the kernel is loaded; undefined when it has none. */
  readonly entry64: number | undefined
  /** 64-bit EFI hand-over entry, relative likewise. */
  readonly handover64: number | undefined
  readonly aboveFourGiB: boolean
  /** Longest command line in bytes, without its terminating 0. */
  readonly cmdlineSize: number
  /** Highest address that the initrd's last byte may have. */
  readonly initrdAddrMax: number
  readonly payload: {
    readonly offset: number
    readonly length: number
    readonly format: PayloadFormat
    /** Size that the payload's last four bytes state, or undefined without payload. */
    readonly unpackedSize: number | undefined
  }
  /** "6.12.3 (builder) #1 SMP …", or an empty string. */
  readonly kernelVersion: string
}

const MAGICS: readonly [PayloadFormat, readonly number[]][] = [
  ['gzip', [0x1f, 0x8b]], ['bzip2', [0x42, 0x5a, 0x68]], ['lzma', [0x5d, 0, 0]], ['xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a]],
  ['lzo', [0x89, 0x4c, 0x5a, 0x4f]], ['lz4', [0x02, 0x21, 0x4c, 0x18]], ['zstd', [0x28, 0xb5, 0x2f, 0xfd]],
  ['elf', [0x7f, 0x45, 0x4c, 0x46]],
]

/** The oldest protocol with everything that the 64-bit entry needs: 2.12 brought xloadflags. */
const OLDEST = 0x20c

/** The kernel's release string, at `kernel_version` + 0x200. */
function versionString(image: Uint8Array, pointer: number, setupBytes: number): string {
  if (pointer === 0) return ''
  const start = pointer + 0x200
  // boot.rst, kernel_version: "less than 0x200 * setup_sects", else there is none.
  if (start >= setupBytes) return ''
  let text = ''
  for (let i = start; i < setupBytes && image[i] >= 0x20 && image[i] < 0x7f && text.length < 256; i++) {
    text += String.fromCharCode(image[i])
  }
  return text
}

function payloadOf(file: string, kernel: Uint8Array, h: SetupHeaderFields): BzImage['payload'] {
  const offset = h.payloadOffset
  const length = h.payloadLength
  if (length === 0) return { offset, length, format: 'unknown', unpackedSize: undefined }
  if (offset + length > kernel.length) {
    throw new BootError(file, 'payload_offset, payload_length',
      `${hex(offset)} + ${hex(length)} ends past the kernel's ${hex(kernel.length)} bytes: the file is truncated`)
  }
  const format = MAGICS.find(([, magic]) => magic.every((b, i) => kernel[offset + i] === b))?.[0] ?? 'unknown'
  if (length < 8) throw new BootError(file, 'payload_length', `${length} bytes, a compressed kernel has more`)
  const view = new DataView(kernel.buffer, kernel.byteOffset, kernel.byteLength)
  const unpackedSize = view.getUint32(offset + length - 4, true)
  return { offset, length, format, unpackedSize: format === 'elf' ? undefined : unpackedSize }
}

function checkMagic(file: string, image: Uint8Array): void {
  if (image.length === 0) throw new BootError(file, 'size', 'the file is empty')
  if (image[0] === 0x7f && image[1] === 0x45 && image[2] === 0x4c && image[3] === 0x46) {
    throw new BootError(file, 'format', 'an ELF file; expected a Linux bzImage')
  }
  if (image.length < SetupHeader.size) {
    throw new BootError(file, 'size',
      `${image.length} bytes; a bzImage has at least ${SetupHeader.size} (its setup header)`)
  }
}

function checkHeader(file: string, h: SetupHeaderFields): void {
  const refuse = (field: string, found: number, expected: string) =>
    new BootError(file, `setup header field ${field}`, `${hex(found)}, expected ${expected}`)
  if (h.bootFlag !== BOOT_FLAG) throw refuse('boot_flag (at 0x1fe)', h.bootFlag, '0xaa55; this is no bzImage')
  if (h.header !== HEADER_MAGIC) throw refuse('header (at 0x202)', h.header, '"HdrS"; this is no bzImage')
  if (h.version >= 0x300 || h.version < 0x200) throw refuse('version', h.version, 'a boot protocol 2.x')
  if (h.version < OLDEST) throw refuse('version', h.version, 'boot protocol 2.12 (Linux 3.8) or later')
  if ((h.loadflags & LoadFlags.mask.LOADED_HIGH) === 0) {
    throw refuse('loadflags', h.loadflags, 'LOADED_HIGH (a bzImage, no zImage)')
  }
  const alignment = h.kernelAlignment
  if (h.relocatableKernel !== 0 && (alignment < 0x1000 || (alignment & (alignment - 1)) !== 0)) {
    throw refuse('kernel_alignment', alignment, 'a power of two of at least 4 KiB')
  }
  if (h.prefAddress < 0x10_0000n || h.prefAddress >= 1n << 46n) {
    throw new BootError(file, 'setup header field pref_address',
      `${hex(h.prefAddress)}, expected an address above 1 MiB`)
  }
  if (h.initSize === 0) throw refuse('init_size', 0, 'the memory that the kernel needs while it starts')
  if (h.cmdlineSize === 0) throw refuse('cmdline_size', 0, 'the longest command line')
}

/**
 * Takes a bzImage apart and checks every field that a loader uses.
 *
 * @param file name for error messages
 * @throws BootError that names the field and what was expected
 */
export function parseBzImage(image: Uint8Array, file = 'kernel'): BzImage {
  checkMagic(file, image)
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength)
  const header = SetupHeader.read(view)
  checkHeader(file, header)
  // boot.rst, setup_sects: 0 means 4. The boot sector itself comes on top.
  const setupBytes = ((header.setupSects === 0 ? 4 : header.setupSects) + 1) * 512
  const stated = header.syssize * 16
  if (setupBytes >= image.length) {
    throw new BootError(file, 'setup header field setup_sects',
      `${header.setupSects} sectors end at ${hex(setupBytes)}, the file at ${hex(image.length)}: it is truncated`)
  }
  // syssize counts paragraphs and may round up past the end; signatures may follow it.
  if (stated > image.length - setupBytes + 15) {
    throw new BootError(file, 'setup header field syssize',
      `${hex(stated)} bytes of kernel stated, ${hex(image.length - setupBytes)} in the file: it is truncated`)
  }
  const kernel = image.subarray(setupBytes)
  // The header ends 0x202 plus the jump's displacement (boot.rst, "jump").
  const headerEnd = 0x202 + (header.jump >> 8)
  if (headerEnd < 0x264 || headerEnd > BootParams.offset.eddMbrSigBuffer) {
    throw new BootError(file, 'setup header field jump',
      `the header would end at ${hex(headerEnd)}, expected 0x264 to 0x290`)
  }
  const has = (flag: number): boolean => (header.xloadflags & flag) !== 0
  const entry64 = has(XLoadFlags.mask.KERNEL_64) ? 0x200 : undefined
  if (entry64 !== undefined && kernel.length < 0x400) {
    throw new BootError(file, 'kernel',
      `${kernel.length} bytes, the 64-bit entry at 0x200 lies outside: the file is truncated`)
  }
  const hasHandover = has(XLoadFlags.mask.EFI_HANDOVER_64) && header.handoverOffset !== 0
  const payload = payloadOf(file, kernel, header)
  if (payload.unpackedSize !== undefined && payload.unpackedSize > header.initSize) {
    throw new BootError(file, 'payload',
      `unpacks to ${hex(payload.unpackedSize)} bytes by its last word, more than init_size `
      + `${hex(header.initSize)}: the file is damaged`)
  }
  return {
    version: header.version,
    header,
    headerBytes: image.slice(0x1f1, headerEnd),
    kernel,
    prefAddress: Number(header.prefAddress),
    initSize: header.initSize,
    alignment: header.kernelAlignment,
    relocatable: header.relocatableKernel !== 0,
    entry64,
    // boot.rst, handover_offset: the 64-bit entry is 512 bytes further.
    handover64: hasHandover ? header.handoverOffset + 512 : undefined,
    aboveFourGiB: has(XLoadFlags.mask.CAN_BE_LOADED_ABOVE_4G),
    cmdlineSize: header.cmdlineSize,
    initrdAddrMax: header.initrdAddrMax,
    payload,
    kernelVersion: versionString(image, header.kernelVersion, setupBytes),
  }
}
