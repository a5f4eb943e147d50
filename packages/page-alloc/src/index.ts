export {
  type AcceptFailure, type AcceptJob, type AcceptMemory, type Acceptor, type AcceptorOptions, type AcceptorSnapshot,
  type AcceptResult, type AcceptStep, createAcceptor, type FailedRange, restoreAcceptor,
} from './acceptor.ts'
export type { AcceptWorker } from './accepting.ts'
export { Gfp } from './alloc.ts'
export {
  type ContigRequest, createPageAllocator, type PageAllocator, type PageAllocOptions, type Policy, restorePageAllocator,
} from './allocator.ts'
export { MigrateType, type PageEvent, type PoisonPort, ZONE_TYPES, type ZoneType } from './core.ts'
export { bootMemory, type BootMemory, type BootMemoryOptions } from './boot-memory.ts'
export { PageAllocError } from './errors.ts'
export {
  addMap, ANY_NODE, createMemblock, describeMemblock, type Memblock, MEMBLOCK_HOTPLUG, MEMBLOCK_NOMAP,
  type MemblockOptions, type MemblockRegion, type MemblockRequest, type MemblockTotals,
} from './memblock.ts'
export {
  EFI_MEMORY_TYPES, type E820Entry, type EfiMemoryDescriptor, mapFromE820, mapFromEfi, mapTotals, type MemoryKind,
  type MemoryRange, normaliseMap,
} from './memory-map.ts'
export {
  formatZones, type Meminfo, type Stretch, type StretchState, type ZoneCounters, type ZoneInfo,
} from './report.ts'
export { pageAllocUse, type PageAllocUse, resumePageAllocator } from './resume.ts'
export type { PageAllocSnapshot, RestorePorts } from './snapshot.ts'
export {
  decodeUnacceptedTable, DEFAULT_UNIT_SIZE, encodeUnacceptedTable, LINUX_EFI_UNACCEPTED_MEM_TABLE_GUID,
  placeUnacceptedTable, planUnacceptedTable, UnacceptedHeader, type UnacceptedTable, unacceptedTableSize,
} from './unaccepted-table.ts'
export { alignDown, alignUp, BLOCK_PAGES, MAX_ORDER, NO_MEMORY, PAGE_SHIFT, PAGE_SIZE, type Range } from './units.ts'
export type { WatermarkOptions } from './watermarks.ts'
export type { ZoneOptions } from './zones.ts'
