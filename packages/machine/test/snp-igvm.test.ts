import { writeIgvm } from '@cofferdam/boot'
import type { IgvmDirective } from '@cofferdam/boot'
import { measureLaunch } from '@cofferdam/sev'
import type { LaunchItem } from '@cofferdam/sev'
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
