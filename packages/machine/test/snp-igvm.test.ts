import { createPublicKey, generateKeyPairSync, sign, type KeyObject } from 'node:crypto'
import { igvmPages, writeIgvm } from '@cofferdam/boot'
import type { IgvmDirective, IgvmImage } from '@cofferdam/boot'
import { encodeEcdsaKey, measureLaunch } from '@cofferdam/sev'
import type { LaunchItem } from '@cofferdam/sev'
import { ECDSA_P384_SHA384, SnpEcdsaSignature, SnpIdAuth, SnpIdBlock, SnpPolicy } from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import { createMachine } from '../src/index.ts'
import type { Machine, MachineOptions } from '../src/index.ts'
import { igvmFile, igvmGuest } from './igvm-guest.ts'

const MiB = 2 ** 20

/** A machine that starts from a file, and what it says. */
function start(firmware: MachineOptions['firmware'], options: Partial<MachineOptions> = {}) {
  const said: string[] = []
  const machine: Machine = createMachine({
    firmware, append: '', memory: 64 * MiB, vcpus: 1, seed: 1, engine: 'auto', cpu: 'amd', cc: 'snp',
    onSerial: (bytes) => { said.push(String.fromCharCode(...bytes)) }, ...options,
  })
  const result = machine.run({ instructions: 1e6 })
  return { said: said.join(''), result, machine }
}

describe('an SNP guest from an IGVM file', () => {
  it('starts at its VMSA, is told what it asks for, and speaks through its GHCB', () => {
    const { said, result, machine } = start(igvmFile('packed, processors: '), { vcpus: 3 })
    expect(said).toBe('packed, processors: 3')
    expect(result).toMatchObject({ reason: 'shutdown', message: expect.stringContaining('set 9') as string })
    expect(machine.stats().snp?.malformed).toEqual({})
  })

  it('has the measurement that its pages and VMSA make, whatever the host tells it', () => {
    const file = igvmFile('measured')
    const { directives } = igvmGuest('measured')
    const launch = directives.flatMap((d): LaunchItem[] => {
      if (d.kind === 'page') return [{ start: d.gpa, length: d.length, type: d.type, bytes: d.bytes }]
      if (d.kind === 'insert') return [{ start: d.gpa, length: 4096, type: 'unmeasured' }]
      return d.kind === 'vp' ? [{ start: d.gpa, length: 4096, type: 'vmsa', bytes: d.vmsa }] : []
    })
    const digest = Array.from(measureLaunch(launch), (byte) => byte.toString(16).padStart(2, '0')).join('')
    for (const vcpus of [1, 2]) expect(start(file, { vcpus }).machine.stats().snp?.measurement).toBe(digest)
    expect(start(igvmFile('measurea')).machine.stats().snp?.measurement).not.toBe(digest)
  })

  it('adds pages of all kinds: large, zero, unmeasured, shared, secrets, CPUID', () => {
    const { said, machine } = start(igvmFile('all kinds ', [
      { kind: 'page', gpa: 0x40_0000, length: 0x20_0000, type: 'normal', bytes: new Uint8Array(0x20_0000).fill(1) },
      { kind: 'page', gpa: 0x60_0000, length: 4096, type: 'normal' },
      { kind: 'page', gpa: 0x60_1000, length: 4096, type: 'unmeasured', bytes: new Uint8Array(4096).fill(2) },
      { kind: 'page', gpa: 0x60_2000, length: 4096, type: 'shared', bytes: new Uint8Array(4096).fill(3) },
      { kind: 'page', gpa: 0x60_3000, length: 4096, type: 'secrets' },
      { kind: 'page', gpa: 0x60_4000, length: 4096, type: 'cpuid' },
    ]))
    expect(said).toBe('all kinds 1')
    const { directives } = igvmGuest('', [{ kind: 'page', gpa: 0x60_0000, length: 4096, type: 'normal' }])
    expect(igvmPages(directives).find(({ start }) => start === 0x60_0000)?.type).toBe('zero')
    // The shared page and the GHCB.
    expect(machine.stats().snp?.memory).toMatchObject({ shared: 2 })
  })

  it('is no firmware of a machine that is not confidential', () => {
    expect(() => start(igvmFile('x'), { cc: 'none' })).toThrow(/guest.igvm: format: an IGVM file.*snp/)
  })

  it('is refused when its memory, its processors or its policy are not to be had', () => {
    const refused = (file: MachineOptions['firmware'], options?: Partial<MachineOptions>) => () => start(file, options)
    expect(refused(igvmFile('x', [{ kind: 'required', gpa: 64 * MiB, length: 4096 }]))).toThrow(/REQUIRED_MEMORY at 0x4000000.*give it more/)
    expect(refused(igvmFile('x', [{ kind: 'page', gpa: 64 * MiB, length: 4096, type: 'normal' }]))).toThrow(/outside of the guest's memory/)
    const { directives, ...rest } = igvmGuest('x')
    const second = directives.flatMap((d): IgvmDirective[] => (d.kind === 'vp' ? [d, { ...d, vp: 1 }] : [d]))
    const both = { name: 'both.igvm', bytes: writeIgvm({ ...rest, directives: second }) }
    expect(refused(both)).toThrow('both.igvm: VP_CONTEXT of VP 1: the guest has 1 processors')
    expect(start(both, { vcpus: 2 }).said).toBe('x2')
    const strict = { name: 'strict.igvm', bytes: writeIgvm({ policy: 0n, directives }) }
    expect(refused(strict)).toThrow(/SNP_LAUNCH_START: failed with INVALID_PARAM/)
  })
})

/** Signs as an owner would, by OpenSSL, in the firmware's format: numbers of 72 bytes, little-endian. */
function signature(key: KeyObject, message: Uint8Array): Uint8Array {
  const numbers = sign('sha384', message, { key, dsaEncoding: 'ieee-p1363' })
  const field = (from: number): Uint8Array => {
    const bytes = new Uint8Array(72)
    bytes.set(new Uint8Array(numbers.subarray(from, from + 48)).reverse())
    return bytes
  }
  return SnpEcdsaSignature.create({ r: field(0), s: field(48) })
}

/** A public key in the firmware's format. */
function publicKey(key: KeyObject): Uint8Array {
  const { x = '', y = '' } = createPublicKey(key).export({ format: 'jwk' })
  return encodeEcdsaKey(Uint8Array.of(4, ...Buffer.from(x, 'base64url'), ...Buffer.from(y, 'base64url')))
}

describe('an ID block', () => {
  const newKey = (): KeyObject => generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey
  const [owner, author] = [newKey(), newKey()]
  const { directives } = igvmGuest('signed ')
  const policy = SnpPolicy.pack({ SMT: 1n, RESERVED_ONE: 1n })

  /** The guest with an ID block of its owner, and the author's word for the owner's key. */
  const signed = (change: {
    digest?: Uint8Array, policy?: bigint, signer?: KeyObject, authorSigner?: KeyObject, guestSvn?: number,
  } = {}) => {
    const block = SnpIdBlock.create({
      launchDigest: change.digest ?? measureLaunch(igvmPages(directives)), version: 1, guestSvn: 7,
      policy: change.policy ?? policy, familyId: new Uint8Array(16).fill(1), imageId: new Uint8Array(16).fill(2),
    })
    const auth = SnpIdAuth.create({
      idKeyAlgorithm: ECDSA_P384_SHA384, idKey: publicKey(owner),
      idBlockSignature: signature(change.signer ?? owner, block),
      authorKeyAlgorithm: ECDSA_P384_SHA384, authorKey: publicKey(author),
      idKeySignature: signature(change.authorSigner ?? author, publicKey(owner)),
    })
    SnpIdBlock.set(new DataView(block.buffer), 'guestSvn', change.guestSvn ?? 7)
    const image: IgvmImage = { policy, identity: { block, auth, authorKey: true }, directives }
    return { name: 'signed.igvm', bytes: writeIgvm(image) }
  }

  it('lets the guest start that its owner signed for', () => {
    expect(start(signed()).said).toBe('signed 1')
  })

  it.each<[string, Parameters<typeof signed>[0], string]>([
    ['by another key', { signer: author }, 'BAD_SIGNATURE'],
    ['with an owner that another author vouches for', { authorSigner: owner }, 'BAD_SIGNATURE'],
    ['and then changed', { guestSvn: 8 }, 'BAD_SIGNATURE'],
    ['for another launch', { digest: new Uint8Array(48).fill(1) }, 'BAD_MEASUREMENT'],
  ])('stops the launch when it was signed %s', (_, change, status) => {
    expect(() => start(signed(change))).toThrow(`SNP_LAUNCH_FINISH: failed with ${status}`)
  })
})
