export * from './constants.ts'
export {
  createVirtqueue, type DescriptorChain, type Virtqueue, type VirtqueueCore, type VirtqueueOptions, type VirtqueueState,
} from './virtqueue.ts'
export type { VirtioDevice, VirtioPort } from './device.ts'
export {
  createVirtioTransport, type VirtioTransport, type VirtioTransportOptions, type VirtioTransportSnapshot,
} from './transport.ts'
export { createVirtioPci, type VirtioPci, type VirtioPciOptions } from './pci.ts'
export { attachVirtio, MAX_VIRTIO_DEVICES, type VirtioOptions, type VirtioSlotsOptions } from './slots.ts'
export * from './block-backend.ts'
export {
  createMemoryOverlay, createMemoryStore, createOverlay, type MemoryStoreOptions, type OverlayOptions, type SectorStore,
} from './block-overlay.ts'
export { BLK_FEATURE, BLK_REQUEST, BLK_STATUS, BlkConfig, createVirtioBlock, type VirtioBlockOptions } from './block.ts'
export { createVirtioRng, type VirtioRngOptions } from './rng.ts'
export { createVirtio9p, type P9Service, type Virtio9pOptions } from './p9.ts'
export {
  CONSOLE_FEATURE, createVirtioConsole, type VirtioConsole, type VirtioConsoleOptions,
} from './console.ts'
export { createVirtioNet, type NetPeer, type VirtioNetOptions } from './net.ts'
