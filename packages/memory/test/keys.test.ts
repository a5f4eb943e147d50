/** Encryption keys: what the wrong key sees. */
import { describe, expect, it } from 'vitest'
import { createPhysicalMemory, xtsPage } from '../src/index.ts'
import type { PhysicalMemory } from '../src/index.ts'

const SECRET = new TextEncoder().encode('the quick brown fox')
const AT = 0x5123

const create = (fill = 0): PhysicalMemory =>
  createPhysicalMemory({ ram: [{ start: 0, length: 2 ** 20 }], overhead: 2 ** 16, fill })

const readAt = (memory: PhysicalMemory, key?: number): string => {
  const out = new Uint8Array(SECRET.length)
  memory.read(AT, out, key)
  return String.fromCharCode(...out)
}
const text = String.fromCharCode(...SECRET)
const hex = (bytes: string): Uint8Array => Uint8Array.from(bytes.match(/../g) ?? [], (b) => parseInt(b, 16))

describe('AES-XTS of a page', () => {
  it('agrees with IEEE 1619’s vectors, block by block', () => {
    // Vector 2 of IEEE 1619-2007, annex B: keys 11… and 22…, data unit 3333333333h.
    const page = new Uint8Array(4096)
    page.fill(0x44, 0, 32)
    xtsPage(hex('11'.repeat(16) + '22'.repeat(16)), 0x33_3333_3333, page, true)
    expect(page.subarray(0, 32)).toEqual(hex('c454185e6a16936e39334038acef838bfb186fff7480adc4289382ecd6d394f0'))
  })

  it('is undone by decryption', () => {
    const page = Uint8Array.from({ length: 4096 }, (_, i) => i * 7)
    const turned = page.slice()
    const key = hex('0123456789abcdef'.repeat(4))
    xtsPage(key, 5, turned, true)
    expect(turned).not.toEqual(page)
    xtsPage(key, 5, turned, false)
    expect(turned).toEqual(page)
  })
})

describe('a page that was written under a key', () => {
  it('is read under the same key as it was written', () => {
    const memory = create()
    memory.write(AT, SECRET, 3)
    expect(readAt(memory, 3)).toBe(text)
  })

  it('is noise without the key and under another, and stays what it is', () => {
    const memory = create()
    memory.write(AT, SECRET, 3)
    expect(readAt(memory)).not.toContain('quick')
    expect(readAt(memory, 4)).not.toContain('quick')
    expect(readAt(memory)).not.toBe(readAt(memory, 4))
    expect(readAt(memory, 3)).toBe(text)
  })

  it('survives that another key looks at it through its frame', () => {
    const memory = create()
    memory.write(AT, SECRET, 3)
    memory.keys.enter(5, 0)
    const frame = memory.backPage(5)
    const bytes = memory.views.u8.slice(frame + 0x123, frame + 0x123 + SECRET.length)
    expect(String.fromCharCode(...bytes)).toBe(readAt(memory))
    expect(readAt(memory, 3)).toBe(text)
  })

  it('is the same noise at the same address, and other noise at another', () => {
    const [one, other] = [create(), create()]
    one.write(AT, SECRET, 3)
    other.write(AT, SECRET, 3)
    expect(readAt(one)).toBe(readAt(other))
    one.write(AT + 4096, SECRET, 3)
    const out = new Uint8Array(SECRET.length)
    one.read(AT + 4096, out)
    expect(String.fromCharCode(...out)).not.toBe(readAt(one))
  })

  it('loses the rest of a block when another key writes into it', () => {
    const memory = create()
    memory.write(AT, SECRET, 3)
    memory.write(AT, Uint8Array.of(1), 0)
    expect(readAt(memory, 3)).not.toBe(text)
    const untouched = new Uint8Array(3)
    memory.read(AT + 16, untouched, 3)
    expect(String.fromCharCode(...untouched)).toBe(text.slice(16))
  })

  it('is noise to the slot’s next key', () => {
    const memory = create()
    memory.write(AT, SECRET, 3)
    memory.keys.install(3, new Uint8Array(32).fill(9))
    expect(readAt(memory, 3)).not.toContain('quick')
  })

  it('can be encrypted in place', () => {
    const memory = create()
    memory.write(AT, SECRET)
    memory.keys.rekey(5, 0, 3)
    expect(readAt(memory, 3)).toBe(text)
    expect(readAt(memory)).not.toContain('quick')
  })

  it('comes back with a snapshot', () => {
    const memory = create()
    memory.write(AT, SECRET, 3)
    const copy = create()
    copy.write(0x5000, memory.views.u8.slice(memory.backPage(5), memory.backPage(5) + 4096))
    copy.keys.restore(memory.keys.save())
    expect(readAt(copy, 3)).toBe(text)
    expect(readAt(copy)).toBe(readAt(memory))
  })
})

describe('translations to a page', () => {
  it('are told of when its frame changes, and only then', () => {
    const memory = create()
    const told: number[] = []
    memory.keys.onChange((page) => told.push(page))
    memory.write(AT, SECRET)
    memory.keys.enter(5, 3)
    memory.keys.enter(5, 3)
    readAt(memory)
    expect(told).toEqual([5])
    memory.write(AT, SECRET)
    expect(told).toEqual([5, 5])
  })

  it('are not told of a page that nobody has written', () => {
    const memory = create()
    const told: number[] = []
    memory.keys.onChange((page) => told.push(page))
    memory.keys.enter(9, 3)
    expect(told).toEqual([])
    expect(memory.backedBytes()).toBe(0)
  })

  it('hear as watchers of writes, too', () => {
    const memory = create()
    const writes: number[] = []
    memory.write(AT, SECRET)
    memory.watchPage(5, true)
    memory.onWrite((address, length) => writes.push(address, length))
    memory.keys.enter(5, 3)
    expect(writes).toEqual([0x5000, 4096])
  })
})

describe('keys without end', () => {
  it('are installed one after the other, and change nothing of what was written under the first', () => {
    const [memory, few] = [create(), create()]
    const key = (n: number): Uint8Array => new Uint8Array(32).fill(7, n % 32)
    for (const one of [memory, few]) {
      one.keys.install(3, key(1))
      one.write(AT, SECRET, 3)
      one.keys.install(4, key(2))
      one.write(0x9000, SECRET, 4)
      one.keys.install(3, key(5))
    }
    // Identities are 16 bits.
    for (let n = 0; n < 2 ** 16; n++) memory.keys.install(5, key(n))
    memory.write(0xb000, SECRET, 5)
    memory.keys.install(5, key(3))
    for (const slot of [0, 3, 4, 6]) {
      for (const at of [AT, 0x9000]) {
        const [one, other] = [new Uint8Array(64), new Uint8Array(64)]
        memory.read(at, one, slot)
        few.read(at, other, slot)
        expect(one, `slot ${slot}`).toEqual(other)
      }
    }
    const copy = create()
    copy.restore(memory.capture())
    expect(() => { copy.keys.install(8, key(1)) }).not.toThrow()
  })
})

describe('memory without keys', () => {
  it('stays inactive', () => {
    const memory = create()
    memory.write(AT, SECRET)
    memory.keys.enter(5, 0)
    expect(readAt(memory)).toBe(text)
    expect(memory.keys.active).toBe(false)
  })

  it('has no key in slot 0', () => {
    expect(() => { create().keys.install(0, new Uint8Array(32)) }).toThrow('slot 0 is no encryption')
    expect(() => { create().keys.install(1, new Uint8Array(16)) }).toThrow('32 bytes, not 16')
  })
})
