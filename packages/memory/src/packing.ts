/**
 * Pages that say little. A kernel keeps a structure of 64 bytes for each page of its memory, and while those pages are
 * free the structures differ by constants only: a terabyte of memory has 16 GiB of them. Such a page is kept as a
 * *pattern* (word j of structure k is base[j] + k × step[j]), and the pages behind it as its continuation.
 */

const PAGE = 4096
/** 32-bit words of a structure, and structures of a page. */
const WORDS = 16
const COUNT = PAGE / (WORDS * 4)
/** 32-bit words of a pattern: bases of its first page, steps. */
const SIZE = WORDS * 2

/** A store of patterns. Those that no page uses any more are used anew, so it never outgrows the pages it describes. */
export interface PatternStore {
  /**
   * Finds the pattern of the page in `frame`: one of `near`, continued to page `page`, or a new one.
   * @returns its number, or −1 when the page has no pattern
   */
  find(u32: Uint32Array, frame: number, page: number, near: readonly number[]): number
  /** Writes the page that pattern `id` describes at `page` into a frame, and forgets that it was a user of it. */
  restore(u32: Uint32Array, frame: number, page: number, id: number): void
  /** Patterns in use. */
  size(): number
  /** The words of pattern `id` for an image: first page, bases, steps. */
  save(id: number): Uint32Array
  /** Takes patterns of an image, numbered in their order, without users yet; there must be none before. */
  load(words: Uint32Array): void
  /** Another page uses pattern `id`. */
  use(id: number): void
}

/** Whether the page at word `at` follows a pattern; most pages don't, which their first three structures show. */
function isRegular(u32: Uint32Array, at: number): boolean {
  for (let j = 0; j < WORDS; j++) {
    const first = u32[at + j]
    const step = (u32[at + j + WORDS] - first) | 0
    let value = (first + step) | 0
    for (let k = 2; k < COUNT; k++) {
      value = (value + step) | 0
      if ((u32[at + j + k * WORDS] | 0) !== value) return false
    }
  }
  return true
}

/** Creates an empty store. */
export function createPatternStore(): PatternStore {
  let patterns = new Int32Array(64 * SIZE)
  /** First page of each pattern, and how many pages use it. */
  const pages: number[] = []
  const users: number[] = []
  const free: number[] = []

  /** Whether the page, known to be regular, is pattern `id` continued. */
  const continues = (u32: Uint32Array, at: number, page: number, id: number): boolean => {
    const first = id * SIZE
    const structures = Math.imul(page - pages[id], COUNT)
    for (let j = 0; j < WORDS; j++) {
      const step = patterns[first + WORDS + j]
      if ((u32[at + j] | 0) !== ((patterns[first + j] + Math.imul(structures, step)) | 0)) return false
      if (((u32[at + j + WORDS] - u32[at + j]) | 0) !== step) return false
    }
    return true
  }

  const create = (u32: Uint32Array, at: number, page: number): number => {
    const id = free.pop() ?? pages.length
    if ((id + 1) * SIZE > patterns.length) {
      const larger = new Int32Array(patterns.length * 2)
      larger.set(patterns)
      patterns = larger
    }
    for (let j = 0; j < WORDS; j++) {
      patterns[id * SIZE + j] = u32[at + j]
      patterns[id * SIZE + WORDS + j] = u32[at + j + WORDS] - u32[at + j]
    }
    pages[id] = page
    users[id] = 0
    return id
  }

  return {
    find(u32, frame, page, near) {
      const at = frame >>> 2
      if (!isRegular(u32, at)) return -1
      const known = near.find((id) => id >= 0 && users[id] > 0 && continues(u32, at, page, id))
      const id = known ?? create(u32, at, page)
      users[id]++
      return id
    },
    restore(u32, frame, page, id) {
      const at = frame >>> 2
      const structures = Math.imul(page - pages[id], COUNT)
      for (let j = 0; j < WORDS; j++) {
        const step = patterns[id * SIZE + WORDS + j]
        let value = (patterns[id * SIZE + j] + Math.imul(structures, step)) | 0
        for (let k = 0; k < COUNT; k++) {
          u32[at + j + k * WORDS] = value
          value = (value + step) | 0
        }
      }
      if (--users[id] === 0) free.push(id)
    },
    size: () => pages.length - free.length,
    save: (id) => Uint32Array.of(pages[id], ...new Uint32Array(patterns.buffer, id * SIZE * 4, SIZE)),
    load(words) {
      const count = words.length / (SIZE + 1)
      patterns = new Int32Array(Math.max(64, count) * SIZE)
      for (let id = 0; id < count; id++) {
        const at = id * (SIZE + 1)
        pages[id] = words[at]
        users[id] = 0
        patterns.set(new Int32Array(words.slice(at + 1, at + 1 + SIZE).buffer), id * SIZE)
      }
    },
    use(id) { users[id]++ },
  }
}
