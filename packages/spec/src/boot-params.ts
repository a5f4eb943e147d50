/**
 * The Linux/x86 boot protocol: setup header and "zero page" (Linux Documentation/arch/x86/boot.rst and zero-page.rst).
 * Offsets are those of the whole boot_params page, which the first sectors of a bzImage share from 0x1f1 on.
 */
import { bits } from './bits.ts'
import { layout } from './layout.ts'

/** The setup header inside a bzImage and inside boot_params (boot.rst, "The Real-Mode Kernel Header"). */
export const SetupHeader = layout(0x26c, {
  setupSects: [0x1f1, 1],
  rootFlags: [0x1f2, 2],
  syssize: [0x1f4, 4],
  ramSize: [0x1f8, 2],
  vidMode: [0x1fa, 2],
  rootDev: [0x1fc, 2],
  bootFlag: [0x1fe, 2],
  jump: [0x200, 2],
  header: [0x202, 4],
  version: [0x206, 2],
  realmodeSwitch: [0x208, 4],
  startSysSeg: [0x20c, 2],
  kernelVersion: [0x20e, 2],
  typeOfLoader: [0x210, 1],
  loadflags: [0x211, 1],
  setupMoveSize: [0x212, 2],
  code32Start: [0x214, 4],
  ramdiskImage: [0x218, 4],
  ramdiskSize: [0x21c, 4],
  bootsectKludge: [0x220, 4],
  heapEndPtr: [0x224, 2],
  extLoaderVer: [0x226, 1],
  extLoaderType: [0x227, 1],
  cmdLinePtr: [0x228, 4],
  initrdAddrMax: [0x22c, 4],
  kernelAlignment: [0x230, 4],
  relocatableKernel: [0x234, 1],
  minAlignment: [0x235, 1],
  xloadflags: [0x236, 2],
  cmdlineSize: [0x238, 4],
  hardwareSubarch: [0x23c, 4],
  hardwareSubarchData: [0x240, 8],
  payloadOffset: [0x248, 4],
  payloadLength: [0x24c, 4],
  setupData: [0x250, 8],
  prefAddress: [0x258, 8],
  initSize: [0x260, 4],
  handoverOffset: [0x264, 4],
  kernelInfoOffset: [0x268, 4],
})

/** `SetupHeader.bootFlag` and `SetupHeader.header` of every kernel. */
export const BOOT_FLAG = 0xaa55
/** "HdrS". */
export const HEADER_MAGIC = 0x5372_6448

/** SetupHeader.loadflags. */
export const LoadFlags = bits({ LOADED_HIGH: 0, KASLR_FLAG: 1, QUIET_FLAG: 5, KEEP_SEGMENTS: 6, CAN_USE_HEAP: 7 })

/** SetupHeader.xloadflags. */
export const XLoadFlags = bits({
  KERNEL_64: 0, CAN_BE_LOADED_ABOVE_4G: 1, EFI_HANDOVER_32: 2, EFI_HANDOVER_64: 3, EFI_KEXEC: 4, '5LEVEL': 5,
  '5LEVEL_ENABLED': 6, MEM_ENCRYPTION: 7,
})

/** boot_params without the setup header (zero-page.rst). */
export const BootParams = layout(4096, {
  screenInfo: [0x000, 0x40],
  apmBiosInfo: [0x040, 0x14],
  tbootAddr: [0x058, 8],
  istInfo: [0x060, 0x10],
  acpiRsdpAddr: [0x070, 8],
  hd0Info: [0x080, 0x10],
  hd1Info: [0x090, 0x10],
  sysDescTable: [0x0a0, 0x10],
  olpcOfwHeader: [0x0b0, 0x10],
  extRamdiskImage: [0x0c0, 4],
  extRamdiskSize: [0x0c4, 4],
  extCmdLinePtr: [0x0c8, 4],
  ccBlobAddress: [0x13c, 4],
  edidInfo: [0x140, 0x80],
  efiLoaderSignature: [0x1c0, 4],
  efiSystab: [0x1c4, 4],
  efiMemdescSize: [0x1c8, 4],
  efiMemdescVersion: [0x1cc, 4],
  efiMemmap: [0x1d0, 4],
  efiMemmapSize: [0x1d4, 4],
  efiSystabHi: [0x1d8, 4],
  efiMemmapHi: [0x1dc, 4],
  altMemK: [0x1e0, 4],
  scratch: [0x1e4, 4],
  e820Entries: [0x1e8, 1],
  eddbufEntries: [0x1e9, 1],
  eddMbrSigBufEntries: [0x1ea, 1],
  kbdStatus: [0x1eb, 1],
  secureBoot: [0x1ec, 1],
  sentinel: [0x1ef, 1],
  eddMbrSigBuffer: [0x290, 0x40],
  e820Table: [0x2d0, 0xa00],
  eddbuf: [0xd00, 0x1ec],
})

/** Entries that the e820 table of boot_params holds. */
export const E820_MAX_ENTRIES = 128

/** One entry of the e820 table. */
export const E820Entry = layout(20, { addr: [0, 8], size: [8, 8], type: [16, 4] })

/** e820 types (ACPI 6.5, table 15.374; Linux asm/e820/types.h). */
export const E820Type = {
  RAM: 1, RESERVED: 2, ACPI: 3, NVS: 4, UNUSABLE: 5, PMEM: 7, PRAM: 12, SOFT_RESERVED: 0xefff_ffff,
} as const

/** Head of a setup_data node; the data follow (boot.rst, setup_data). */
export const SetupDataHead = layout(16, { next: [0, 8], type: [8, 4], len: [12, 4] })

/** setup_data types (Linux uapi/asm/setup_data.h). */
export const SetupDataType = {
  NONE: 0, E820_EXT: 1, DTB: 2, PCI: 3, EFI: 4, APPLE_PROPERTIES: 5, JAILHOUSE: 6, CC_BLOB: 7, IMA: 8, RNG_SEED: 9,
  KEXEC_KHO: 10, INDIRECT: 0x8000_0000,
} as const

/** hvm_start_info of the PVH entry, version 1 (Xen public/arch-x86/hvm/start_info.h). */
export const HvmStartInfo = layout(56, {
  magic: [0, 4], version: [4, 4], flags: [8, 4], nrModules: [12, 4], modlistPaddr: [16, 8], cmdlinePaddr: [24, 8],
  rsdpPaddr: [32, 8], memmapPaddr: [40, 8], memmapEntries: [48, 4], reserved: [52, 4],
})
/** hvm_start_info.magic, at the address that EBX holds at a PVH entry. */
export const HVM_START_MAGIC = 0x336e_c578
/** hvm_modlist_entry. */
export const HvmModule = layout(32, { paddr: [0, 8], size: [8, 8], cmdlinePaddr: [16, 8], reserved: [24, 8] })
/** hvm_memmap_table_entry. */
export const HvmMemmapEntry = layout(24, { addr: [0, 8], size: [8, 8], type: [16, 4], reserved: [20, 4] })
/** Type of the ELF note that holds the 32-bit PVH entry (Xen elfnote.h, name "Xen"). */
export const XEN_ELFNOTE_PHYS32_ENTRY = 18

/** multiboot_info of Multiboot 0.6.96, §3.3. */
export const MultibootInfo = layout(88, {
  flags: [0, 4], memLower: [4, 4], memUpper: [8, 4], bootDevice: [12, 4], cmdline: [16, 4], modsCount: [20, 4],
  modsAddr: [24, 4], syms: [28, 16], mmapLength: [44, 4], mmapAddr: [48, 4], drivesLength: [52, 4],
  drivesAddr: [56, 4], configTable: [60, 4], bootLoaderName: [64, 4], apmTable: [68, 4], vbe: [72, 16],
})
/** The first word of a Multiboot header (Multiboot 0.6.96, §3.1.2). */
export const MULTIBOOT_HEADER_MAGIC = 0x1bad_b002
/** EAX at the entry of a Multiboot kernel. */
export const MULTIBOOT_BOOT_MAGIC = 0x2bad_b002
/** An entry of the list of modules (Multiboot 0.6.96, §3.3). */
export const MultibootModule = layout(16, { start: [0, 4], end: [4, 4], string: [8, 4], reserved: [12, 4] })
/** An entry of the memory map; `size` does not count itself (Multiboot 0.6.96, §3.3). */
export const MultibootMmapEntry = layout(24, { size: [0, 4], addr: [4, 8], length: [12, 8], type: [20, 4] })
