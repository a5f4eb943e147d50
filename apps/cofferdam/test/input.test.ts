import { describe, expect, it } from 'vitest'
import { createInputQueue, createKeyFilter } from '../src/run/input.ts'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const text = (data: Uint8Array | undefined): string | undefined => data && new TextDecoder().decode(data)

describe('the keys of the console', () => {
  it('part Ctrl-A commands from the bytes for the guest, even across reads', () => {
    const keys: string[] = []
    const filter = createKeyFilter((key) => keys.push(key))
    expect(text(filter(bytes('ab\x03\x01')))).toBe('ab\x03')
    expect(text(filter(bytes('hc\x01\x01d\x01X')))).toBe('c\x01d')
    expect(keys).toEqual(['help', 'leave'])
  })
})

describe('a pipe', () => {
  it('comes out a line at a time, the last one complete', () => {
    const queue = createInputQueue({ lines: true })
    queue.push(bytes('one\ntw'))
    expect(text(queue.take())).toBe('one\n')
    expect(queue.take()).toBeUndefined()
    queue.push(bytes('o'))
    queue.end()
    expect(text(queue.take())).toBe('two\n')
    expect(queue).toMatchObject({ empty: true, ended: true, started: true })
  })

  it('is held back while the guest does not read', () => {
    const held: boolean[] = []
    const queue = createInputQueue({ lines: true, onFull: (full) => held.push(full) })
    queue.push(bytes(`${'x'.repeat(70_000)}\n`))
    expect(held).toEqual([true])
    queue.take()
    expect(held).toEqual([true, false])
  })

  it('gives up a line that never ends', () => {
    const queue = createInputQueue({ lines: true })
    queue.push(bytes('x'.repeat(70_000)))
    expect(queue.take()).toHaveLength(70_000)
  })

  it('ends a wait when bytes come', async () => {
    const queue = createInputQueue({ lines: true })
    const waited = queue.wait(60_000)
    queue.push(bytes('x'))
    await waited
    expect(queue.empty).toBe(false)
  })
})
