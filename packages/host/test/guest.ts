/** A guest's host side without silicon: memory is a buffer, the RMP a record of what was done to it. */
import { createIoBus } from '@cofferdam/memory'
import type { SevFact } from '@cofferdam/sev'
import { RmpStatus, VmcbControl } from '@cofferdam/spec'
import { createLocalApic } from '@cofferdam/x86'
import {
  createGuestCpu, createGuestMemory, createNpt, encryptionLeaf, ENCRYPTION_LEAF, guestModel,
  type ApRequest, type GuestMemory, type GuestServices, type HostMemory, type RmpInstructions, type VcpuServices,
} from '../src/index.ts'
import type { Vmcb } from '../src/guest/vmcb.ts'

const PAGE = 4096
export const MiB = 2 ** 20

/** Host memory of some MiB. */
export function hostMemory(bytes: number): HostMemory & { readonly bytes: Uint8Array } {
  const all = new Uint8Array(bytes)
  return {
    bytes: all,
    read(address, out) { out.set(all.subarray(address, address + out.length)) },
    write(address, bytes) { all.set(bytes, address) },
    fill(address, length, value) { all.fill(value, address, address + length) },
  }
}

/** A VMCB that no processor runs. */
export function looseVmcb(): Vmcb {
  const view = new DataView(new ArrayBuffer(VmcbControl.size))
  return {
    address: 0,
    get: (field) => VmcbControl.get(view, field),
    set(field, value) { VmcbControl.set(view, field, value) },
  }
}

/** An RMP that keeps what RMPUPDATE says and refuses what the real one refuses of sizes. */
export function fakeRmp() {
  const entries = new Map<number, { guestPage: number, large: boolean, asid: number, immutable: boolean }>()
  const log: string[] = []
  const rmp: RmpInstructions = {
    rmpupdate(page, { assigned, ...entry }) {
      log.push(`${assigned ? 'assign' : 'release'} ${entry.large ? '2M' : '4K'} ${page} for ${entry.guestPage}`)
      const inside = entries.get(page - page % 512)
      if (!entry.large && inside?.large === true) return RmpStatus.FAIL_OVERLAP
      if (assigned) entries.set(page, entry)
      else entries.delete(page)
      return RmpStatus.SUCCESS
    },
    psmash(page) {
      log.push(`psmash ${page}`)
      const entry = entries.get(page)
      if (entry?.large !== true) return RmpStatus.FAIL_INPUT
      for (let i = 0; i < 512; i++) entries.set(page + i, { ...entry, large: false, guestPage: entry.guestPage + i })
      return RmpStatus.SUCCESS
    },
  }
  return { rmp, entries, log }
}

/** Guest memory of `ram` in host memory of 32 MiB, where tables lie in the first 4. */
export function guestMemory(ram: readonly { start: number, length: number }[] = [{ start: 0, length: 8 * MiB }]) {
  const memory = hostMemory(32 * MiB)
  const fake = fakeRmp()
  let table = 1
  let region = 4 * MiB / PAGE
  const npt = createNpt({
    memory, allocatePage: () => table++, freePage: () => undefined, isRam: (page) => page < 32 * MiB / PAGE,
    physicalBits: 48,
  })
  let flushes = 0
  const guest = createGuestMemory({
    isHostRam: () => true,
    memory, npt, rmp: fake.rmp, asid: 3, ram, flush: () => { flushes++ }, charge: () => undefined,
    freeRegion: () => undefined,
    allocateRegion: () => {
      if (region * PAGE >= 32 * MiB) return -1
      region += 512
      return region - 512
    },
  })
  return { ...fake, memory, npt, guest, flushes: () => flushes }
}

/** A guest with one processor, as the functions that serve exits see it. */
export function guestServices(memory: GuestMemory) {
  const apic = createLocalApic({
    id: 0, bootstrap: true, now: () => 1000, send: () => undefined, eoiBroadcast: () => undefined,
    onChange: () => undefined,
  })
  const cpu = createGuestCpu({ model: guestModel(), index: 0, count: 1, apic, now: () => 1000, holeStart: 0x8000_0000 })
  cpu.system.leaves.set(ENCRYPTION_LEAF, encryptionLeaf({ cBit: 51, addressReduction: 6, coherencyNeedsNothing: true }))
  const seen = {
    ends: [] as string[], aps: [] as ApRequest[], pauses: [] as string[], requests: 0, vmpls: [] as number[],
    facts: [] as SevFact[],
  }
  const vcpu: VcpuServices = {
    index: 0, vmpl: 0, apic, cpu, dr7: 0x400n, ghcb: -1, nmiDone: () => undefined,
    pause: (how) => { seen.pauses.push(how) },
  }
  const services: GuestServices = {
    memory, ports: createIoBus(0x1_0000), mmio: createIoBus(2 ** 52), cBit: 51, features: 3n, apicIds: [0, 1, 5],
    createAp(request) {
      seen.aps.push(request)
      return true
    },
    guestRequest(page) {
      seen.requests++
      return { firmware: 0, response: page.map((b) => b ^ 0xff) }
    },
    certificates: () => new Uint8Array(5000).fill(7),
    runVmpl(_vcpu, vmpl) {
      seen.vmpls.push(vmpl)
      return vmpl === 0
    },
    end: ({ why }) => { seen.ends.push(why) },
    charge: () => undefined,
    inCpuidPage: (leaf) => leaf < 2,
    fact: (_vcpu, fact) => { seen.facts.push(fact) },
  }
  return { services, vcpu, seen }
}
