/// <reference types="node" />
import { describe, expect, it } from 'vitest'
import { createMemoryFiles, createNinePServer } from '../src/index.ts'
import { requestBytes } from './client.ts'
import { createRandom, fuzzServer, randomRequest } from './requests.ts'

/** `FUZZ_CASES=1000000 vitest run packages/ninep/test/fuzz.test.ts` is the long run. */
const cases = Number(process.env.FUZZ_CASES ?? 30_000)
const entries = { 'dir/a': 'text', 'dir/dir/b': '', 'file': 'x'.repeat(5000), 'link': { link: 'dir/a' } }

describe('any bytes', () => {
  it.each([
    true, false,
  ])('are answered by one whole reply each, and memory stays bounded (writable: %s)', (writable) => {
    const capacity = 2 ** 20
    const files = createMemoryFiles({ entries, writable, capacity })
    const server = createNinePServer({ files, limits: { fids: 64, openFiles: 16, listedNames: 1000 } })
    expect(fuzzServer(server, cases, 20_261_121)).toBeUndefined()
    expect(files.used()).toBeLessThanOrEqual(capacity)
    server.reset()
    if (!writable) expect(files.content('dir/a')).toEqual(new TextEncoder().encode('text'))
  }, 600_000)

  it('leave a session that a snapshot brings back: both answer the same from there on', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const make = () => {
        const files = createMemoryFiles({ writable: true, entries, capacity: 2 ** 20 })
        return { files, server: createNinePServer({ files }) }
      }
      const [one, two] = [make(), make()]
      fuzzServer(one.server, 600, seed)
      // what was removed while it is open is lost, as said
      const lost = new Set<string>()
      for (const path of two.server.restore(JSON.parse(JSON.stringify(one.server.snapshot())))) lost.add(path)
      if (lost.size > 0) continue
      const random = createRandom(seed + 99)
      for (let i = 0; i < 300; i++) {
        const { bytes } = randomRequest(random)
        expect(two.server.serve(bytes, 8192)).toEqual(one.server.serve(bytes, 8192))
      }
    }
  })

  it('sound requests come through in most cases: the fuzzing reaches the files', () => {
    const files = createMemoryFiles({ entries, writable: true })
    const server = createNinePServer({ files })
    server.serve(requestBytes('Tversion', { msize: 8192, version: '9P2000.L' }), 8192)
    const random = createRandom(7)
    const seen = new Set<number>()
    fuzzServer(server, 3000, 5)
    for (let i = 0; i < 5000; i++) seen.add(server.serve(randomRequest(random).bytes, 8192)[4] ?? 0)
    expect(seen.size).toBeGreaterThan(20)
  })
})
