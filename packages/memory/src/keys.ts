/**
 * Encryption keys: what a key that did not write a page sees of it. A page's frame holds plaintext, as the key sees it
 * that last touched the page; only when another key comes is the page turned, by AES-XTS with its address as tweak,
 * into what that key sees. Whoever uses one key for a page pays nothing.
 */
import { ecb } from '@noble/ciphers/aes.js'

const PAGE = 4096
const BLOCKS = PAGE / 16
const CHUNK = 512
/** Bytes of a key: AES-128 for the data, and for the tweak. */
export const MEMORY_KEY_BYTES = 32

/** Keys that there can be at a time: a page's is noted in 16 bits. */
export const MOST_KEYS = 0xffff

/** The keys of a memory controller, and which page is under which. Slots are numbers (an ASID); 0 is no encryption. */
export interface PageKeys {
  /** Some page was touched with a key: until then nobody need ask. */
  readonly active: boolean
  /**
   * Puts a key into a slot (32 bytes). Pages that were written under the slot's former key stay under that one: the
   * new key sees noise.
   * @throws RangeError for slot 0, or another length
   */
  install(slot: number, key: Uint8Array): void
  /**
   * Makes a RAM page plaintext under a slot's key: if another key touched it last, its frame becomes what this key sees
   * of that, and translations to it are no longer good. A page that has never been written has no contents to see.
   */
  enter(page: number, slot: number): void
  /** The same where nothing of the old contents is wanted: the page will be overwritten. */
  claim(page: number, slot: number): void
  /** Encrypts in place: what `from` sees of the page is what `to` sees from now on. */
  rekey(page: number, from: number, to: number): void
  /** Whether the frame holds what the slot's key sees. */
  isUnder(page: number, slot: number): boolean
  /** Copies what a slot's key sees of a backed page, 4096 bytes, and changes nothing. */
  view(page: number, slot: number, out: Uint8Array): void
  /** Hears of pages whose frames change under their translations. */
  onChange(listener: (page: number) => void): void
  /** What a snapshot keeps beside the frames. */
  save(): PageKeysState
  restore(state: PageKeysState): void
}

/** Keys by identity (from 1), slots with the identity in them, and for each chunk of 512 pages their identities. */
export interface PageKeysState {
  readonly keys: readonly Uint8Array[]
  readonly slots: readonly (readonly [slot: number, identity: number])[]
  readonly pages: readonly (readonly [chunk: number, identities: Uint16Array])[]
}

export interface PageKeysOptions {
  readonly u8: Uint8Array
  /** Frame of a page that is backed, −1 for others. */
  readonly frameOf: (page: number) => number
  readonly isRam: (page: number) => boolean
  /** Tells who watches a page that its bytes changed. */
  readonly changed: (page: number) => void
}

/** A key as AES uses it: one half for the data, one for the tweak (IEEE 1619). */
interface Key {
  readonly bytes: Uint8Array
  readonly data: Uint8Array
  readonly tweak: Uint8Array
}

/** The library's ciphers are for one use each. */
const aes = (key: Uint8Array): ReturnType<typeof ecb> => ecb(key, { disablePadding: true })

function makeKey(bytes: Uint8Array): Key {
  if (bytes.length !== MEMORY_KEY_BYTES) {
    throw new RangeError(`a memory key has ${MEMORY_KEY_BYTES} bytes, not ${bytes.length}`)
  }
  const copy = bytes.slice()
  return { bytes: copy, data: copy.slice(0, 16), tweak: copy.slice(16) }
}

/** A key for a slot that nobody gave one: different for each slot, the same in every run. */
function defaultKey(slot: number): Uint8Array {
  const key = new Uint8Array(MEMORY_KEY_BYTES)
  let state = (Math.imul(slot, 0x9e37_79b1) ^ 0x5bd1_e995) >>> 0 || 1
  for (let i = 0; i < key.length; i++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    key[i] = state >>> 11
  }
  return key
}

/** Tweaks of a page's blocks: the encrypted page number, doubled in GF(2^128) from block to block. */
function tweaksOf(key: Key, page: number, out: Uint32Array): void {
  const unit = new Uint8Array(16)
  new DataView(unit.buffer).setBigUint64(0, BigInt(page), true)
  const first = aes(key.tweak).encrypt(unit)
  const words = new Uint32Array(first.buffer, first.byteOffset, 4)
  let [a, b, c, d] = words
  for (let i = 0; i < BLOCKS * 4; i += 4) {
    out[i] = a
    out[i + 1] = b
    out[i + 2] = c
    out[i + 3] = d
    const carry = d >>> 31
    d = (d << 1) | (c >>> 31)
    c = (c << 1) | (b >>> 31)
    b = (b << 1) | (a >>> 31)
    a = (a << 1) ^ (carry !== 0 ? 0x87 : 0)
  }
}

/** AES-XTS of one page in place (IEEE 1619), the page's number as data unit. */
export function xtsPage(key: Uint8Array, page: number, bytes: Uint8Array, encrypt: boolean): void {
  transform(makeKey(key), page, bytes, encrypt)
}

const tweaks = new Uint32Array(BLOCKS * 4)

function transform(key: Key, page: number, bytes: Uint8Array, encrypt: boolean): void {
  tweaksOf(key, page, tweaks)
  const masked = new Uint8Array(PAGE)
  masked.set(bytes)
  const words = new Uint32Array(masked.buffer)
  for (let i = 0; i < words.length; i++) words[i] ^= tweaks[i]
  const turned = encrypt ? aes(key.data).encrypt(masked) : aes(key.data).decrypt(masked)
  const out = new Uint32Array(turned.buffer, turned.byteOffset, PAGE / 4)
  for (let i = 0; i < out.length; i++) out[i] ^= tweaks[i]
  bytes.set(turned)
}

/** Creates the keys of a memory; `createPhysicalMemory` does. */
export function createPageKeys({ u8, frameOf, isRam, changed }: PageKeysOptions): PageKeys {
  /** Keys by identity; identity 0 is none. */
  const keys: (Key | null)[] = [null]
  const slots = new Map<number, number>([[0, 0]])
  const chunks = new Map<number, Uint16Array>()
  const listeners: ((page: number) => void)[] = []
  /** Identities whose keys nobody has any more. */
  const free: number[] = []
  let active = false

  const add = (slot: number, key: Uint8Array): number => {
    slots.delete(slot)
    if (keys.length > MOST_KEYS && free.length === 0) reclaim()
    const identity = free.pop() ?? keys.length
    if (identity > MOST_KEYS) throw new RangeError(`memory keys: more than ${MOST_KEYS} slots`)
    keys[identity] = makeKey(key)
    slots.set(slot, identity)
    active = true
    return identity
  }
  const identityOf = (slot: number): number => slots.get(slot) ?? add(slot, defaultKey(slot))

  const tagOf = (page: number): number => chunks.get(Math.floor(page / CHUNK))?.[page % CHUNK] ?? 0
  const setTag = (page: number, identity: number): void => {
    const index = Math.floor(page / CHUNK)
    let chunk = chunks.get(index)
    if (chunk === undefined) chunks.set(index, chunk = new Uint16Array(CHUNK))
    chunk[page % CHUNK] = identity
  }

  /** Turns 4096 bytes that one key sees into what another sees. */
  const turn = (page: number, bytes: Uint8Array, from: number, to: number): void => {
    const [old, next] = [keys[from], keys[to]]
    if (old !== null) transform(old, page, bytes, true)
    if (next !== null) transform(next, page, bytes, false)
  }

  const moved = (page: number): void => {
    for (const listener of listeners) listener(page)
    changed(page)
  }

  const under = (page: number, identity: number, keepsContents: boolean): void => {
    const tag = tagOf(page)
    if (tag === identity || !isRam(page)) return
    const frame = frameOf(page)
    if (frame >= 0 && keepsContents) turn(page, u8.subarray(frame, frame + PAGE), tag, identity)
    setTag(page, identity)
    if (frame >= 0) moved(page)
  }

  /**
   * Makes room for keys: hosts may launch guests for ever. Pages under a key that has lost its slot are what they are
   * without any from now on, which is the same to all who look at them.
   */
  const reclaim = (): void => {
    const held = new Set(slots.values())
    for (const [chunk, tags] of chunks) {
      tags.forEach((tag, i) => { if (tag !== 0 && !held.has(tag)) under(chunk * CHUNK + i, 0, true) })
    }
    for (let identity = 1; identity < keys.length; identity++) if (!held.has(identity)) free.push(identity)
  }

  return {
    get active() { return active },
    install(slot, key) {
      if (slot === 0) throw new RangeError('memory keys: slot 0 is no encryption')
      add(slot, key)
    },
    enter(page, slot) { if (active || slot !== 0) under(page, identityOf(slot), true) },
    claim(page, slot) { if (active || slot !== 0) under(page, identityOf(slot), false) },
    rekey(page, from, to) {
      under(page, identityOf(from), true)
      under(page, identityOf(to), false)
    },
    isUnder: (page, slot) => !active || tagOf(page) === identityOf(slot),
    view(page, slot, out) {
      const frame = frameOf(page)
      if (frame < 0) return
      out.set(u8.subarray(frame, frame + PAGE))
      const identity = identityOf(slot)
      if (tagOf(page) !== identity) turn(page, out, tagOf(page), identity)
    },
    onChange(listener) { listeners.push(listener) },
    save: () => ({
      keys: keys.slice(1).map((key) => (key as Key).bytes.slice()),
      slots: [...slots],
      pages: [...chunks].filter(([, tags]) => tags.some((tag) => tag !== 0))
        .map(([chunk, tags]) => [chunk, tags.slice()]),
    }),
    restore(state) {
      keys.length = 1
      free.length = 0
      for (const bytes of state.keys) keys.push(makeKey(bytes))
      slots.clear()
      for (const [slot, identity] of state.slots) slots.set(slot, identity)
      chunks.clear()
      for (const [chunk, tags] of state.pages) chunks.set(chunk, tags.slice())
      active = state.keys.length > 0
    },
  }
}
