/// <reference types="node" />
import { Reg } from '@cofferdam/boot'
import type { Assembler } from '@cofferdam/boot'
import { ATTACKS } from '@cofferdam/host'
import type { HostileMode } from '@cofferdam/host'
import { GhcbMsr, PscOperation, VmgExit } from '@cofferdam/spec'
import { describe, expect, it } from 'vitest'
import type { Machine, MachineEvent, MachineOptions } from '../src/index.ts'
import { pageState, pvalidate, request } from './snp-code.ts'
import { exitThrough, fillGhcb, openGhcb } from './snp-ghcb.ts'
import { snpMachine } from './snp-machine.ts'

const { rax, rcx, rbx, r8, r9, r15 } = Reg
const MiB = 2 ** 20
/** Made in the guest of two halves, so that what the host launches does not hold it. */
const [LEFT, RIGHT] = [0x1357_9bdf_0246_8aceen, 0x0f1e_2d3c_4b5a_6978n]
const SECRET = BigInt.asUintN(64, LEFT ^ RIGHT)
const bytesOf = (value: bigint): Buffer => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(value)
  return bytes
}

/** Where the secret is, 0x123 bytes into the first page of each 2 MiB, and pages that change hands over and over. */
const SECRETS = { start: 32 * MiB, end: 112 * MiB } as const
const AT = 0x123
const [CHANGED, REQUEST, RESPONSE] = [112 * MiB, 114 * MiB, 116 * MiB]

/** One of each thing that a guest asks its host for and that attacks wait for. */
function askHost(asm: Assembler, asksFirmware: boolean): void {
  request(asm, BigInt(GhcbMsr.HV_FEATURES_REQ))
  request(asm, 1n << 30n | BigInt(GhcbMsr.CPUID_REQ))
  pvalidate(asm, CHANGED, 0)
  request(asm, pageState(CHANGED, PscOperation.SHARED))
  request(asm, pageState(CHANGED, PscOperation.PRIVATE))
  pvalidate(asm, CHANGED, 1)
  // Nothing that the firmware could read: what matters is who has seen it. It takes long.
  const pages = [['swExitInfo1', BigInt(REQUEST)], ['swExitInfo2', BigInt(RESPONSE)]] as const
  if (asksFirmware) fillGhcb(asm, VmgExit.GUEST_REQUEST, 2, pages)
  else fillGhcb(asm, VmgExit.HV_FEATURES)
  asm.move(rbx, r9)
  exitThrough(asm)
}

/** Keeps the secret in memory and in registers, reads it and leaves for its host over and over. */
const kernel = (confidential: boolean, asksFirmware: boolean) => (asm: Assembler): void => {
  asm.set(rbx, LEFT)
  asm.set(r15, RIGHT)
  asm.alu('xor', r15, rbx)
  const eachPlace = (name: string, act: () => void): void => {
    asm.set(r8, SECRETS.start)
    asm.label(name)
    act()
    asm.aluImmediate('add', r8, 2 * MiB)
    asm.set(rax, SECRETS.end)
    asm.alu('cmp', r8, rax)
    asm.jumpIf('ne', name)
  }
  eachPlace('write', () => { asm.store(r8, AT, r15) })
  asm.bytes(0x0f, 0x20, 0xe0) // mov rax, cr4
  asm.set(rcx, 1 << 9) // OSFXSR
  asm.alu('or', rax, rcx)
  asm.bytes(0x0f, 0x22, 0xe0) // mov cr4, rax
  asm.bytes(0x66, 0x49, 0x0f, 0x6e, 0xc7) // movq xmm0, r15
  if (confidential) {
    for (const page of [REQUEST, RESPONSE]) {
      pvalidate(asm, page, 0)
      request(asm, pageState(page, PscOperation.SHARED))
    }
    openGhcb(asm)
    asm.move(r9, rbx)
  }
  asm.label('again')
  eachPlace('read', () => { asm.load(rax, r8, AT) })
  if (confidential) askHost(asm, asksFirmware)
  asm.jump('again')
}

/** All that a host can read: each page without a key, at any alignment. */
function sightings({ memory }: Machine): number {
  const wanted = bytesOf(SECRET)
  const page = new Uint8Array(4096)
  let found = 0
  for (const { start, length } of memory.ram) {
    for (let at = start; at < start + length; at += 4096) {
      memory.read(at, page)
      if (Buffer.from(page.buffer).includes(wanted)) found++
    }
  }
  return found
}

const run = (cc: 'none' | 'snp', more: Partial<MachineOptions> = {}) => {
  const events: MachineEvent[] = []
  const sent: number[] = []
  const mode = more.hostile?.[0].mode
  const machine = snpMachine(kernel(cc === 'snp', mode?.startsWith('replay-') === true), {
    memory: 128 * MiB, accept: 'eager', cc,
    onSerial: (bytes) => { sent.push(...bytes) }, onEvent: (event) => { events.push(event) },
    ...more,
  })
  const result = machine.run({ instructions: mode === 'replay' ? 3e6 : 500_000 })
  // Registers of a guest that has ended are for the person at the emulator, as a debugger's are; a host has its own.
  const { state: _state, ...reason } = 'state' in result ? result : { ...result, state: undefined }
  const told = JSON.stringify([machine.stats(), events, sent, reason], (_, value: unknown) =>
    (typeof value === 'bigint' ? value.toString(16) : value))
  return { machine, told, events }
}

const spellings = [
  SECRET.toString(16), SECRET.toString(10), bytesOf(SECRET).toString('hex'), bytesOf(SECRET).toString('base64'),
]

/** Attacks on a page of private memory in use: the page is one of those that hold the secret. */
const AT_PAGES: readonly HostileMode[] = ['unmap', 'remap', 'replay', 'flip']

describe('a secret in memory and registers', () => {
  it('of a plain machine is there for whoever looks at its memory', () => {
    const { machine } = run('none')
    expect(machine.stats().instructions).toBeGreaterThan(400_000)
    expect(sightings(machine)).toBe((SECRETS.end - SECRETS.start) / (2 * MiB))
  })

  it('of an SNP guest is nowhere that its host can look: memory, VMCB, GHCB, events, counters', () => {
    const { machine, told, events } = run('snp')
    expect(machine.stats().snp?.exits['msr:hv-features']).toBeGreaterThan(100)
    expect(machine.stats().snp?.malformed).toEqual({})
    expect(events.length).toBeGreaterThan(1000)
    expect(sightings(machine)).toBe(0)
    for (const spelling of spellings) expect(told).not.toContain(spelling)
  })

  it.each(Object.keys(ATTACKS) as HostileMode[])('of an SNP guest stays there when its host attacks (%s)', (mode) => {
    const { machine, told } = run('snp', { hostile: [{ mode, at: 200_000 }] })
    const { did } = machine.stats().snp?.hostile?.[0] ?? {}
    expect(did).not.toBeNull()
    if (AT_PAGES.includes(mode)) {
      const page = Number(/0x\w+/.exec(did ?? '')?.[0]) & ~0xfff
      expect([page >= SECRETS.start && page < SECRETS.end, page % (2 * MiB)]).toEqual([true, 0])
    }
    expect(sightings(machine)).toBe(0)
    for (const spelling of spellings) expect(told).not.toContain(spelling)
  })
})
