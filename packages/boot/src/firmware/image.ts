/**
 * Firmware images: what lies at the end of the lowest 4 GiB, with the reset vector in its last 16 bytes, and, for UEFI,
 * the variable store at its start or in a file of its own. Source of the volume header: UEFI Platform Initialization
 * 1.8, vol. 3, §3.2.1.
 */
import { BootError, bytesText, hex } from '../error.ts'
import { PC } from '../memory-map.ts'

/** A flash chip of the machine: where its bytes lie and whether they can be changed. */
export interface FlashChip {
  /** Name of the file, for messages. */
  readonly name: string
  readonly base: number
  readonly bytes: Uint8Array
  readonly readOnly: boolean
}

/** Firmware, checked and laid out. */
export interface FirmwareLayout {
  /** From the highest to the lowest; the first one ends at 4 GiB. */
  readonly chips: readonly FlashChip[]
  /** The variable store: chip, and bytes at that chip's start. Undefined when there is none. */
  readonly variables: { readonly chip: number, readonly length: number } | undefined
}

/** A file by name and content. */
export interface FirmwareFile {
  readonly name: string
  readonly bytes: Uint8Array
}

/** Chips lie above this address: below it are the local APICs. */
const LOWEST_FLASH = 0xff00_0000
/** The last 16 bytes: where a processor begins. */
const RESET_VECTOR = 16
const PAGE = 4096
/** Volume header: 16 bytes of reset vector, GUID, length, signature. */
const VOLUME = { GUID: 16, LENGTH: 32, SIGNATURE: 40, SIZE: 56 } as const
/** "_FVH". */
const VOLUME_SIGNATURE = 0x4856_465f
/** EFI_SYSTEM_NV_DATA_FV_GUID: FFF12B8D-7696-4C8B-A985-2747075B4F50. */
const VARIABLES_GUID = [
  0x8d, 0x2b, 0xf1, 0xff, 0x96, 0x76, 0x8b, 0x4c, 0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50,
]

function checkSize({ name, bytes }: FirmwareFile, what: string): void {
  if (bytes.length === 0) throw new BootError(name, 'size', 'the file is empty')
  if (bytes.length % PAGE !== 0) {
    throw new BootError(name, 'size', `${bytes.length} bytes; ${what} has a multiple of ${PAGE}`)
  }
  const most = PC.fourGiB - LOWEST_FLASH
  if (bytes.length > most) {
    throw new BootError(name, 'size', `${bytesText(bytes.length)}; expected up to ${bytesText(most)}`)
  }
}

/** A processor that starts in nothing would run through it for ever; what is not empty may still be no firmware. */
function checkResetVector({ name, bytes }: FirmwareFile): void {
  const vector = bytes.subarray(bytes.length - RESET_VECTOR)
  const [first] = vector
  if ((first === 0 || first === 0xff) && vector.every((byte) => byte === first)) {
    throw new BootError(name, 'reset vector (the last 16 bytes)',
      `all ${hex(first)}; expected the instructions that a processor begins with`)
  }
}

/**
 * Bytes that the variable store at the start of a file takes, with its work and spare areas; 0 when there is none.
 * @throws BootError when a volume header states what the file does not have
 */
export function variableStoreLength({ name, bytes }: FirmwareFile): number {
  if (bytes.length < VOLUME.SIZE) return 0
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const isStore = view.getUint32(VOLUME.SIGNATURE, true) === VOLUME_SIGNATURE
    && VARIABLES_GUID.every((byte, i) => bytes[VOLUME.GUID + i] === byte)
  if (!isStore) return 0
  const length = view.getBigUint64(VOLUME.LENGTH, true)
  if (length % BigInt(PAGE) !== 0n || length === 0n || length > BigInt(bytes.length)) {
    throw new BootError(name, 'firmware volume header, FvLength',
      `${hex(length)} in a file of ${hex(bytes.length)} bytes; expected a multiple of ${hex(PAGE)} inside it`)
  }
  return Number(length)
}

/**
 * Lays firmware out below 4 GiB. An image that begins with a variable store is one chip, and `vars` takes that store's
 * place; otherwise `vars` is a chip of its own below the image, which then cannot be written.
 *
 * @throws BootError that names the file, the field and what was expected
 */
export function layOutFirmware(image: FirmwareFile, vars?: FirmwareFile): FirmwareLayout {
  checkSize(image, 'a firmware image')
  checkResetVector(image)
  const own = variableStoreLength(image)
  const base = PC.fourGiB - image.bytes.length
  if (own === image.bytes.length) {
    throw new BootError(image.name, 'firmware volume header', 'a variable store and nothing else; expected firmware')
  }
  const top: FlashChip = { name: image.name, base, bytes: image.bytes.slice(), readOnly: false }
  if (vars === undefined) return { chips: [top], variables: own === 0 ? undefined : { chip: 0, length: own } }
  checkSize(vars, 'a variable store')
  const length = variableStoreLength(vars)
  if (length === 0) {
    throw new BootError(vars.name, 'firmware volume header',
      'no variable store; expected a volume "_FVH" with the GUID of EFI variables at the start of the file')
  }
  if (own === 0) {
    const below = { name: vars.name, base: base - vars.bytes.length, bytes: vars.bytes.slice(), readOnly: false }
    if (below.base < LOWEST_FLASH) {
      throw new BootError(vars.name, 'size', `${bytesText(vars.bytes.length)} find no place below ${image.name}`)
    }
    return { chips: [{ ...top, readOnly: true }, below], variables: { chip: 1, length: vars.bytes.length } }
  }
  if (vars.bytes.length !== own && length !== own) {
    throw new BootError(vars.name, 'size', `a store of ${hex(length)} bytes; that of ${image.name} has ${hex(own)}`)
  }
  top.bytes.set(vars.bytes.subarray(0, own))
  return { chips: [top], variables: { chip: 0, length: own } }
}
