import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseDevice } from '../src/devices.ts'
import * as parse from '../src/parse.ts'

describe('--memory', () => {
  it.each([
    ['64M', 64 * 2 ** 20],
    ['4095M', 4095 * 2 ** 20],
    ['2G', 2 ** 31],
    ['1T', 2 ** 40],
    ['131076K', 131_076 * 1024],
  ])('takes %s', (text, bytes) => {
    expect(parse.parseMemory(text)).toBe(bytes)
  })

  const refused = ['', '2', '2g', '2GB', '2 G', '-1G', '1.5G', '0x40M', '63M', '2T', '1e3M', '65537K']
  it.each(refused)('refuses %j', (text) => {
    expect(() => parse.parseMemory(text)).toThrow('expected')
  })

  it('is written back in the largest unit that holds it', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2 ** 14, max: 2 ** 28 }), (pages) => {
        const bytes = pages * 4096
        expect(parse.parseMemory(parse.formatMemory(bytes))).toBe(bytes)
      }),
    )
  })
})

describe('--seed', () => {
  it.each([
    ['0', 0],
    ['0xff', 255],
    ['9007199254740991', Number.MAX_SAFE_INTEGER],
  ])('takes %s', (text, value) => {
    expect(parse.parseSeed(text)).toBe(value)
  })
  it.each(['', '-1', '1.5', '9007199254740992', 'abc'])('refuses %j', (text) => {
    expect(() => parse.parseSeed(text)).toThrow('expected')
  })
})

describe('--timeout', () => {
  it.each(['0', '-1', '', '1e3', 'Infinity', '864001'])('refuses %j', (text) => {
    expect(() => parse.parseSeconds(text)).toThrow('expected seconds')
  })
  it('takes parts of a second', () => {
    expect(parse.parseSeconds('2.5')).toBe(2.5)
  })
})

describe('--add', () => {
  it('parts the two paths at the last colon', () => {
    expect(parse.parseAdd('a:b:/c')).toEqual([{ host: 'a:b', guest: '/c' }])
  })
  it('collects what is repeated', () => {
    expect(parse.parseAdd('x:/y', parse.parseAdd('a:/b')).map(({ guest }) => guest)).toEqual(['/b', '/y'])
  })
  it.each(['', 'a', ':/b', 'a:', 'a:b', 'a:/'])('refuses %j', (text) => {
    expect(() => parse.parseAdd(text)).toThrow('expected HOSTPATH:GUESTPATH')
  })
})

describe('--device', () => {
  it.each([
    ['isa-debug-exit', { kind: 'isa-debug-exit', port: 0x501, length: 2 }],
    ['isa-debug-exit,iobase=0xf4,iosize=0x04', { kind: 'isa-debug-exit', port: 0xf4, length: 4 }],
    ['isa-debug-exit,iosize=1', { kind: 'isa-debug-exit', port: 0x501, length: 1 }],
    ['pc-testdev', { kind: 'pc-testdev' }],
    ['pci-testdev', { kind: 'pci-testdev' }],
    ['psp', { kind: 'psp' }],
  ])('takes %s', (text, device) => {
    expect(parseDevice(text)).toEqual([device])
  })

  it.each([
    ['isa-debug-exit,iobase=0x10000', 'iobase from 0 to 65535'], ['isa-debug-exit,iosize=5', 'iosize from 1 to 4'],
    ['isa-debug-exit,iobase', 'iobase from 0 to 65535'], ['isa-debug-exit,port=1', 'iobase=PORT or iosize=N'],
    ['isa-debug-exit,iobase=0xffff', 'end below port 0x10000'], ['pc-testdev,x=1', 'no properties after pc-testdev'],
    ['', 'expected virtio-rng'], ['toString', 'expected virtio-rng'],
  ])('refuses %j', (text, expected) => {
    expect(() => parseDevice(text)).toThrow(expected)
  })

  it('takes a test device once', () => {
    expect(() => parseDevice('pc-testdev', parseDevice('pc-testdev'))).toThrow('one pc-testdev, not two')
  })
})

describe('--gdb', () => {
  it('listens on the loopback address unless another is given', () => {
    expect(parse.parseGdb('1234')).toEqual({ host: '127.0.0.1', port: 1234 })
    expect(parse.parseGdb('0.0.0.0:1')).toEqual({ host: '0.0.0.0', port: 1 })
    expect(parse.parseGdb('[::1]:65535')).toEqual({ host: '::1', port: 65_535 })
  })

  it.each(['', 'x', '65536', ':1', '1:', '1:2:3', '-1'])('refuses %j', (text) => {
    expect(() => parse.parseGdb(text)).toThrow('expected PORT or ADDRESS:PORT')
  })
})

describe('--sev-features', () => {
  it('takes names with commas between', () => {
    expect(parse.parseSevFeatures('debug-swap,secure-tsc')).toBe(0x220n)
    expect(() => parse.parseSevFeatures('secure-tsc,vtom')).toThrow(/expected some of debug-swap/)
    expect(() => parse.parseSevFeatures('')).toThrow(/expected some of/)
    expect(() => parse.parseSevFeatures('restricted-injection')).toThrow(/delivers interrupts itself/)
  })
})
