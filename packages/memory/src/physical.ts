/**
 * Physical memory. RAM is backed by 4 KiB frames inside one WebAssembly memory, so that generated code reaches it
 * directly; a frame is taken when its page is first written (or first read, where RAM is not cleared at power-on).
 * Addresses are JavaScript numbers below 2^52; frames are byte offsets into the WebAssembly memory.
 */
import { createBacking } from './backing.ts'
import { createIoBus } from './bus.ts'
import { createContents } from './contents.ts'
import { createCovers } from './covers.ts'
import { createDeferred } from './deferred.ts'
import { createFrames } from './frames.ts'
import { createImaging } from './imaging.ts'
import { createPageKeys } from './keys.ts'
import { createPageWords, FRAME_ABSENT, FRAME_NONE, FRAME_PACKED, FRAME_ROM, FRAME_WATCHED } from './page-words.ts'
import type { PhysicalMemory, PhysicalMemoryOptions, WriteWatcher } from './types.ts'

const PAGE = 4096

/** Creates memory with RAM at the given ranges. @throws RangeError for ranges that are unaligned or overlap. */
export function createPhysicalMemory(options: PhysicalMemoryOptions): PhysicalMemory {
  const ram = [...options.ram].sort((a, b) => a.start - b.start)
  const filled = (options.fill ?? 0) !== 0
  const words = createPageWords(ram, (page, word) => {
    if ((word & FRAME_PACKED) !== 0) return backing.unpack(page)
    deferred.fetch((word & ~(PAGE - 1)) >>> 0)
    return frameWord(page)
  })
  const { frameWord } = words
  const frames = createFrames(options.overhead, ram.reduce((sum, { length }) => sum + length, 0))
  const { views } = frames
  const backing = createBacking(frames, words, options.fill ?? 0)
  const { backPage } = backing

  const watchers: WriteWatcher[] = []
  const notifyWrite = (address: number, length: number): void => {
    for (const watcher of watchers) watcher(address, length)
  }

  const covers = createCovers(words, notifyWrite)
  /** The contents that an image has for later. */
  const deferred = createDeferred({
    u8: views.u8,
    arrived: (page) => { covers.setRamWord(page, (covers.ramWord(page) & ~FRAME_ABSENT) >>> 0) },
  })
  const keys = createPageKeys({
    u8: views.u8,
    frameOf: (page) => {
      const word = frameWord(page)
      return word < PAGE || (word & FRAME_ROM) !== 0 ? -1 : (word & ~(PAGE - 1)) >>> 0
    },
    isRam: (page) => frameWord(page) !== FRAME_NONE,
    changed: (page) => { if ((frameWord(page) & FRAME_WATCHED) !== 0) notifyWrite(page * PAGE, PAGE) },
  })

  return {
    wasm: frames.wasm, views, ram, guards: [], filled, keys,
    ports: createIoBus(0x10000),
    mmio: createIoBus(2 ** 52),
    reserve: frames.reserve,
    lowFrames: words.low,
    zeroFrame: frames.zeroFrame,
    frameWord, backPage, notifyWrite,
    placedWord: words.placedWord,
    readAsZero: backing.readAsZero,
    onBacked: backing.onBacked,
    watchPage(page, on) {
      const word = frameWord(page)
      if (word !== FRAME_NONE) words.set(page, on ? word | FRAME_WATCHED : word & ~FRAME_WATCHED)
    },
    onWrite: (watcher) => { watchers.push(watcher) },
    cover: covers.cover,
    ...createContents({ u8: views.u8, keys, frameWord, backPage, notifyWrite, filled }),
    backedBytes: frames.usedBytes,
    ...createImaging({ ram, frames, words, backing, covers, deferred, keys }),
    crowded: backing.crowded,
    pack() {
      deferred.fetchAll()
      return backing.pack()
    },
  }
}
