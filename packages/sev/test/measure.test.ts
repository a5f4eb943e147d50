import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  CPU_SIGNATURES, KernelHashGuid, OvmfGuid, SevInputError, cpuSignature, createLaunchDigest, extendLaunchDigest,
  kernelHashTable, launchSteps, ovmfDigest, parseOvmf, snpLaunchDigest,
} from '../src/index.ts'
import type { KernelFiles, OvmfImage, VmmType } from '../src/index.ts'
import { fromHex, toHex } from '../src/bytes.ts'
import { SECTIONS, syntheticOvmf } from './ovmf-fixture.ts'
import { fetchedImage, vector } from './vectors.ts'

const text = (s: string): Uint8Array => new TextEncoder().encode(s)
const none: KernelFiles = { kernel: new Uint8Array() }
const files: KernelFiles = { kernel: text('kernel'), initrd: text('initrd'), append: 'console=ttyS0' }

interface Case {
  readonly vcpus?: number
  readonly cpu?: string
  readonly features: number
  readonly kernel?: KernelFiles
  readonly vmm?: VmmType
}

const digest = (ovmf: OvmfImage, { vcpus = 1, cpu = 'EPYC-v4', features, ...rest }: Case): string =>
  toHex(snpLaunchDigest({ ovmf, vcpus, signature: CPU_SIGNATURES[cpu], features: BigInt(features), ...rest }))

describe('the launch digest of an image with OVMF’s tables', () => {
  // Expected digests: virtee/sev-snp-measure on the same bytes.
  const ovmf = parseOvmf(syntheticOvmf())
  const cases: [Case, string][] = [
    [{ features: 1 },
      'b28121933208db153536466d0d125bed471d2abd37eb64eb21f062d6fba1d0ba62bd971ccaa54f321051b4cf97bb6234'],
    [{ vcpus: 4, cpu: 'EPYC-Milan', features: 0x21, kernel: files },
      'a26a255d105cf07f4c896220d7ea0769be5c67aa14d6718662810e9ee84ba9ecffa5f35c5e1c6bfc3a0b8e6c9f4cdbcc'],
    [{ vcpus: 2, cpu: 'EPYC-Genoa', features: 1, kernel: { kernel: text('kernel') }, vmm: 'ec2' },
      '83df91fc57ed6f3ccbe3caee4be5cc71bcd45ac29a8b5f75b6b55a96f732c8ab2324f73146528551c4c7aff52b5f3016'],
    [{ vcpus: 2, features: 1, kernel: { kernel: text('kernel') }, vmm: 'gce' },
      '24c6f01d75d3248d768d27a2e7472dd15eff9edaf1b31e14895d9b00eaeb8fb1f5fd4207049ee3d81daa59a260f234a7'],
  ]
  it.each(cases)('is that of the public tool for %o', (options, expected) => {
    expect(digest(ovmf, options)).toBe(expected)
  })
  it('goes on from a digest of the image that was computed before', () => {
    const [options, expected] = cases[0]
    expect(digest(ovmf, options)).toBe(expected)
    const resumed = snpLaunchDigest({
      ovmf, vcpus: 1, signature: CPU_SIGNATURES['EPYC-v4'], features: 1n, ovmfDigest: ovmfDigest(ovmf),
    })
    expect(toHex(resumed)).toBe(expected)
  })
  it('changes with every byte of what is measured', () => {
    const kernel = { kernel: text('kernel2') }
    const all = cases.map(([options]) => digest(ovmf, options))
    all.push(digest(ovmf, { features: 1, kernel }), digest(ovmf, { features: 1, kernel: none }))
    all.push(digest(parseOvmf(syntheticOvmf({ resetEip: 0x80_b008 })), { vcpus: 2, features: 1 }))
    expect(new Set(all).size).toBe(all.length)
  })
})

const amdSev = vector('ovmf_AmdSev_suffix.bin')
const x64 = vector('ovmf_OvmfX64_suffix.bin')

describe.skipIf(amdSev === null || x64 === null)('the launch digest of the public vectors', () => {
  const append = { kernel: new Uint8Array(), append: 'console=ttyS0 loglevel=7' }
  const cases: [string, Case, string][] = [
    ['AmdSev', { features: 0x21, kernel: none },
      '329c8ce0972ae52343b64d34a434a86f245dfd74f5ed7aae15d22efc78fb9683632b9b50e4e1d7fa41179ef98a7ef198'],
    ['AmdSev', { features: 1, kernel: none },
      'ddc5224521617a536ee7ce9dd6224d1b58a8d4fda1c741f3ac99fc4bfa04ba6e9fc98646d4a07a9079397fa3852819b5'],
    ['AmdSev', { features: 0x21, kernel: none, vmm: 'ec2' },
      '0ce9ccc06bab55eebe8abc234f3df6514883977a68a591b71052498ab52b2f1aa415db338033946ef93aa8278c0d67fb'],
    ['AmdSev', { features: 1, kernel: none, vmm: 'ec2' },
      '0883bd0eeb716e65b7b977a321c278d1e51b33b5c655fab985443bbcc65c086b9c15e8a0bd8811050dec7e24964e5056'],
    ['AmdSev', { features: 1, kernel: none, vmm: 'gce' },
      '5da7106cf14cf46b1725ebab123eb9e53bd46a1e9f400cd0c08e7827b04b688ea8b4e403c8404efed4397ea5d5d0722e'],
    ['AmdSev', { vcpus: 4, features: 1, kernel: none, vmm: 'gce' },
      '5c5debf100fc339f90276e761ee1f1658d08922c3b20e2a2e6c7a6c3370b2452a15a00eae11886a93d6fd1e7ab81e29d'],
    ['AmdSev', { features: 0x21, kernel: append },
      '803f691094946e42068aaa3a8f9e26a5c89f36f7b73ecfb28c653360fe4b3aba7e534442e7e1e17895dfe778d0228977'],
    ['AmdSev', { features: 1, kernel: append },
      '6d287813eb5222d770f75005c664e34c204f385ce832cc2ce7d0d6f354454362f390ef83a92046c042e706363b4b08fa'],
    ['AmdSev', { features: 0x21 },
      'e1e1ca029dd7973ab9513295be68198472dcd4fc834bd9af9b63f6e8a1674dbf281a9278a4a2ebe0eed9f22adbcd0e2b'],
    ['AmdSev', { features: 1 },
      '19358ba9a7615534a9a1e2f0dfc29384dcd4dcb7062ff9c6013b26869a5fc6ecabe033c48dd6f6db5d6d76e7c5df632d'],
    ['AmdSev', { vcpus: 4, features: 0x21, kernel: none },
      '4953b1fb416fa874980e8442b3706d345926d5f38879134e00813c5d7abcbe78eafe7b422907be0b4698e2414a631942'],
    ['AmdSev', { vcpus: 4, features: 1, kernel: none },
      '5061fffb019493a903613d56d54b94912a1a2f9e4502385f5c194616753720a92441310ba6c4933de877c36e23046ad5'],
    ['X64', { features: 0x21 },
      '28797ae0afaba4005a81e629acebfb59e6687949d6be44007cd5506823b0dd66f146aaae26ff291eed7b493d8a64c385'],
    ['X64', { features: 1 },
      'da0296de8193586a5512078dcd719eccecbd87e2b825ad4148c44f665dc87df21e5b49e21523a9ad993afdb6a30b4005'],
  ]
  const image = (name: string): OvmfImage => parseOvmf((name === 'X64' ? x64 : amdSev) ?? new Uint8Array())
  it.each(cases)('%s %o', (name, options, expected) => {
    expect(digest(image(name), options)).toBe(expected)
  })
  it('of the image alone', () => {
    expect(toHex(ovmfDigest(image('AmdSev'))))
      .toBe('086e2e9149ebf45abdc3445fba5b2da8270bdbb04094d7a2c37faaa4b24af3aa16aff8c374c2a55c467a50da6d466b74')
  })
  it('refuses a kernel where the image has no section for its hashes', () => {
    expect(() => digest(image('X64'), { features: 1, kernel: none })).toThrow(SevInputError)
  })
})

const debian = fetchedImage('ovmf-amdsev_2026.08+ds-2', 'OVMF.amdsev.fd')

it.skipIf(debian === null)('the launch digest of Debian’s OVMF.amdsev.fd is that of the public tool', () => {
  const ovmf = parseOvmf(debian ?? new Uint8Array())
  expect(digest(ovmf, { vcpus: 4, features: 1, kernel: files }))
    .toBe('b8ff8ddf1a45b04abdff8faea337bfaa89167696f95adb531ec6d03a3ab2ad2505844701698ae8de883d4b7fccef54f7')
})

describe('an OVMF image', () => {
  it('tells its address, its reset block, its table and its sections', () => {
    const ovmf = parseOvmf(syntheticOvmf())
    expect(ovmf).toMatchObject({ gpa: 0xffff_e000, resetEip: 0x80_b004, hashTableGpa: 0x81_0c00, sections: SECTIONS })
  })
  it('without tables has no sections', () => {
    expect(parseOvmf(new Uint8Array(4096))).toMatchObject({ sections: [], resetEip: null, hashTableGpa: null })
    expect(() => digest(parseOvmf(new Uint8Array(4096)), { vcpus: 2, features: 1 })).toThrow(/reset block/)
    expect(() => digest(parseOvmf(new Uint8Array(4096)), { features: 1, kernel: none })).toThrow(/kernel hashes/)
  })
  it('is refused with a message that names the field', () => {
    const refused = (change: (bytes: Uint8Array, view: DataView) => void): string => {
      const bytes = syntheticOvmf()
      change(bytes, new DataView(bytes.buffer))
      try {
        parseOvmf(bytes, 'my.fd')
        return 'accepted'
      } catch (error) {
        return (error as Error).message
      }
    }
    const meta = 8192 - 0x200
    expect(refused((b) => { b[meta] = 0 })).toBe('my.fd: its SEV metadata: expected the signature ASEV')
    expect(refused((_, v) => { v.setUint32(meta + 8, 2, true) })).toMatch(/version 2/)
    expect(refused((_, v) => { v.setUint32(meta + 12, 0xffff_ffff, true) })).toMatch(/4294967295 sections/)
    expect(refused((_, v) => { v.setUint32(meta + 16, 1, true) })).toMatch(/section 0/)
    expect(refused((_, v) => { v.setUint32(meta + 24, 99, true) })).toMatch(/type 99/)
    expect(() => parseOvmf(new Uint8Array(5), 'x')).toThrow(/x: its size, 5 bytes/)
  })
  it('of any bytes is read or refused, never worse', () => {
    const image = syntheticOvmf()
    const change = fc.tuple(fc.integer({ min: 8192 - 0x220, max: 8191 }), fc.integer({ min: 0, max: 255 }))
    fc.assert(fc.property(fc.array(change, { maxLength: 12 }), (changes) => {
      const bytes = image.slice()
      for (const [at, value] of changes) bytes[at] = value
      try {
        parseOvmf(bytes)
      } catch (error) {
        expect(error).toBeInstanceOf(SevInputError)
      }
    }), { numRuns: 500 })
  })
})

describe('launch steps', () => {
  it('are the sections in order, the CPUID page last on EC2', () => {
    const ovmf = parseOvmf(syntheticOvmf())
    const types = (vmm: VmmType) =>
      launchSteps({ ovmf, vcpus: 1, signature: 0, features: 1n, vmm }).map(({ type }) => type)
    expect(types('qemu')).toEqual([3, 5, 6, 3, 3])
    expect(types('ec2')).toEqual([3, 5, 3, 3, 6])
    expect(types('gce')).toEqual([4, 5, 6, 3, 4])
  })
})

describe('the pieces', () => {
  it('pack a processor’s signature as CPUID does', () => {
    expect(cpuSignature(23, 1, 2)).toBe(0x0080_0f12)
    expect(cpuSignature(25, 17, 0)).toBe(0x00a1_0f10)
    expect(cpuSignature(6, 0x8f, 8)).toBe(0x0008_06f8)
  })
  it('hash kernel, initrd and command line with its zero', () => {
    const table = kernelHashTable({ kernel: text('abc') })
    expect(table.length).toBe(176)
    const sha256abc = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
    expect(toHex(table.subarray(118 + 18, 168))).toBe(sha256abc)
    // SHA-256 of one zero byte.
    const zero = '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d'
    expect(toHex(table.subarray(18 + 18, 68))).toBe(zero)
    expect(KernelHashGuid.TABLE).not.toBe(OvmfGuid.SEV_HASH_TABLE)
  })
  it('measure whole pages only', () => {
    const launch = createLaunchDigest()
    expect(() => { launch.addNormal(0n, new Uint8Array(5)) }).toThrow(RangeError)
    expect(() => extendLaunchDigest(launch.value, { type: 1, gpa: 0n, bytes: new Uint8Array(1) })).toThrow(RangeError)
    expect(() => createLaunchDigest(fromHex('00'))).toThrow(RangeError)
  })
  it('count permissions and the migration image', () => {
    const start = new Uint8Array(48)
    const page = { type: 3, gpa: 0x1000n } as const
    const digests = [page, { ...page, imi: true }, { ...page, vmpls: [1, 0, 0] as const },
      { ...page, vmpls: [0, 0, 1] as const }, { ...page, gpa: 0x2000n }].map((p) => toHex(extendLaunchDigest(start, p)))
    expect(new Set(digests).size).toBe(5)
  })
})
