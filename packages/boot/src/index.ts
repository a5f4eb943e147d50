export * as aml from './acpi/aml.ts'
export type { AcpiPlatform, NumaNode } from './acpi/platform.ts'
export {
  ACPI_FILES, acpiLoaderSizes, createAcpiLoader, type AcpiLoaderFiles, type AcpiLoaderSizes,
} from './acpi/loader.ts'
export { createAcpiTables, type AcpiTables } from './acpi/tables.ts'
export { parseBzImage, type BzImage, type PayloadFormat, type SetupHeaderFields } from './bzimage.ts'
export {
  Condition, createAssembler, Reg, type Alu, type Assembler, type OperandSize, type Plain,
} from './cc/assembler.ts'
export { VMSA_GPA, type SnpLaunch, type SnpLaunchPages, type SnpPageType } from './cc/launch.ts'
export { snpDirectBoot, type SnpDirectImage, type SnpDirectOptions } from './cc/snp-direct.ts'
export { STAGE_TERMINATION, STAGE_TERMINATION_SET } from './cc/stage-parameters.ts'
export { vmsaOf } from './cc/vmsa.ts'
export { takesUnacceptedMemory } from './efi/unaccepted.ts'
export type { EfiRange } from './efi/layout.ts'
export { elfExtent, isElf, parseElf, type ElfImage, type ElfNote, type ElfSegment } from './elf.ts'
export { BootError } from './error.ts'
export { memoryCmos } from './firmware/cmos.ts'
export {
  acpiFiles, createFirmwareConfig, e820File, type ConfigFile, type FirmwareConfig, type FirmwareConfigOptions,
} from './firmware/config.ts'
export {
  layOutFirmware, variableStoreLength, type FirmwareFile, type FirmwareLayout, type FlashChip,
} from './firmware/image.ts'
export { igvmLaunch, igvmPages, type IgvmLaunchOptions } from './igvm/launch.ts'
export { parseIgvm } from './igvm/parse.ts'
export { isIgvm } from './igvm/reader.ts'
export { writeIgvm } from './igvm/write.ts'
export type { IgvmDirective, IgvmImage, IgvmPageKind, IgvmParameterKind } from './igvm/types.ts'
export { checkInitrd } from './initrd.ts'
export { kernelKind, loadKernel, type KernelKind } from './kernel.ts'
export { loadLinux, type LinuxBoot, type LinuxOptions, type SetupData } from './linux.ts'
export type { Loaded, LoadOptions } from './load.ts'
export { e820Bytes, lowMemory, PC, pcMemoryMap, ramBytes, type MemoryRegion } from './memory-map.ts'
export { findMultibootHeader, loadMultiboot, type MultibootBoot, type MultibootHeaderFields } from './multiboot.ts'
export { createPlacement, type Placed, type Placement, type WriteMemory } from './placement.ts'
export { loadPvh, pvhEntry, type PvhBoot } from './pvh.ts'
export { createSmbios, createSmbiosParts, type SmbiosInfo, type SmbiosParts } from './smbios.ts'
export { flatGdt, flatSegments, type GeneralRegisters, type SegmentState, type StartState } from './start-state.ts'
