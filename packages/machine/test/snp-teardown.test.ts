import { Reg, lowMemory, pcMemoryMap } from '@cofferdam/boot'
import type { Assembler } from '@cofferdam/boot'
import { createReferenceHost, createSnpGuest } from '@cofferdam/host'
import type { SnpGuest } from '@cofferdam/host'
import { createIoBus } from '@cofferdam/memory'
import { PspCommand, PspStatus, SnpActivate, SnpAddress, SnpLaunchStart } from '@cofferdam/spec'
import { configureModel, epycGenoa } from '@cofferdam/x86'
import { describe, expect, it } from 'vitest'
import { createRam } from '../src/board.ts'
import type { MachineOptions } from '../src/options.ts'
import { createProcessors, processorsOverhead } from '../src/processors.ts'
import type { Processors } from '../src/processors.ts'
import { createRandom } from '../src/random.ts'
import { createLaunch } from '../src/snp/image.ts'
import { createSnpSilicon } from '../src/snp/silicon.ts'
import { bzImage } from './kernels.ts'
import { report } from './snp-code.ts'

const { rax, rbx, r8 } = Reg
const MiB = 2 ** 20
const SECRET = 0x5ec2_e75e_c2e7_5ec3n

/** Where the kernel looks: the beginning of each 2 MiB that it does not lie in. */
const PLACES = Array.from({ length: 21 }, (_, i) => (20 + 2 * i) * MiB)

/**
 * Ends with reason 7 if it finds the secret anywhere, with 1 if not; then, in `leaving`, after leaving it everywhere.
 */
const kernel = (leaving: boolean) => (asm: Assembler): void => {
  asm.set(rax, SECRET)
  for (const place of PLACES) {
    asm.set(r8, place)
    asm.load(rbx, r8)
    asm.alu('cmp', rbx, rax)
    asm.jumpIf('e', 'found')
    if (leaving) asm.store(r8, 0, rax)
  }
  asm.set(rbx, 1)
  asm.jump('end')
  asm.label('found')
  asm.set(rbx, 7)
  asm.label('end')
  report(asm)
}

const systemPages = ({ memory }: SnpGuest): number[] => PLACES.map((place) => memory.systemPage(place / 4096))

/** A host on AMD silicon that launches guests of 64 MiB, one after the other or together. */
function createHost() {
  const bytes = 1024 * MiB
  const memory = createRam(bytes, processorsOverhead(1))
  const model = configureModel(epycGenoa)
  const none = (): void => undefined
  const silicon = createSnpSilicon({
    memory, model, seed: 1, processors: () => processors.seats.map(({ processor }) => processor),
    charge: none, iommuReady: true,
  })
  const processors: Processors = createProcessors({
    seats: [], memory, count: 1, engine: 'interp', model, extensions: silicon.extensions, holeStart: lowMemory(bytes),
    now: () => 0, interrupted: () => false, random64: createRandom(1, 'processors').next64, picAcknowledge: () => -1,
    eoiBroadcast: none, onChange: none,
  })
  const physical = processors.seats.map(({ processor }) => processor)
  const flushed: number[] = []
  const host = createReferenceHost({
    memory, map: pcMemoryMap(bytes), processors: physical, rmp: silicon.rmp, psp: silicon.psp,
    maxSnpAsid: silicon.maxSnpAsid, charge: none,
    writeBackCaches(processor) {
      flushed.push(processor)
      silicon.writeBackCaches(processor)
    },
  })
  const launch = (leaving: boolean) => {
    const options: MachineOptions = {
      kernel: bzImage(kernel(leaving)), append: '', memory: 64 * MiB, vcpus: 1, seed: 1, engine: 'interp', cpu: 'amd',
      cc: 'snp', accept: 'eager',
    }
    const ram = pcMemoryMap(options.memory).filter(({ start }) => start === 0 || start === MiB)
      .map(({ start, length }) => ({ start, length }))
    let why = ''
    const guest: SnpGuest = createSnpGuest({
      host, memory, rmp: silicon.rmp, svms: physical.map(({ cpu }) => silicon.svmOf(cpu)),
      image: createLaunch(options, ram, silicon.encryption.cBit), ram,
      holeStart: lowMemory(options.memory), encryption: silicon.encryption, ports: createIoBus(0x1_0000),
      mmio: createIoBus(2 ** 52), now: () => 0, charge: none, picAcknowledge: () => -1, eoiBroadcast: none,
      onChange: none,
      onEnd: (end) => { why = end.why },
    })
    const run = (): string => {
      for (let turns = 0; why === '' && turns < 100; turns++) guest.vcpus[0].run(100_000, false)
      return why
    }
    return { guest, run }
  }
  const free = (): number => {
    host.pages.drain()
    return host.pages.zones().reduce((sum, zone) => sum + zone.free, 0)
  }
  const command = (name: keyof typeof PspCommand, buffer: Uint8Array): number =>
    host.firmware.tryCommand(name, buffer).status
  return { memory, silicon, host, launch, free, flushed, command }
}

describe('a guest that is destroyed', () => {
  it('leaves all to the next one: memory, RMP entries, ASID; and nothing that it knew', () => {
    const { silicon, host, launch, free, flushed, memory } = createHost()
    const before = free()
    const first = launch(true)
    expect(first.run()).toMatch(/reason 0x1/)
    const left = systemPages(first.guest)
    const [where] = left
    const word = new Uint8Array(8)
    const seen = (): bigint => {
      memory.read(where * 4096, word)
      return new DataView(word.buffer).getBigUint64(0, true)
    }
    expect(silicon.table.read(where)).toMatchObject({ assigned: true, asid: first.guest.asid })
    flushed.length = 0
    first.guest.destroy()
    expect(silicon.measurement(first.guest.context)).toBe('')
    expect(silicon.table.read(where)).toMatchObject({ assigned: false })
    expect(free()).toBe(before)
    expect(flushed).toEqual([0])
    expect(seen()).not.toBe(SECRET)

    const second = launch(false)
    expect(second.guest.asid).toBe(first.guest.asid)
    expect(second.run()).toMatch(/reason 0x1/)
    // Most of what it looked at were the same system pages, under another key.
    expect(systemPages(second.guest).filter((page) => left.includes(page)).length).toBeGreaterThan(PLACES.length / 2)
    second.guest.destroy()
    expect(free()).toBe(before)
    expect(host.takeAsid()).toBe(first.guest.asid)
  })

  it('does not disturb one that stays', () => {
    const { launch } = createHost()
    const [stays, goes] = [launch(false), launch(true)]
    expect(goes.guest.asid).not.toBe(stays.guest.asid)
    goes.run()
    goes.guest.destroy()
    expect(stays.run()).toMatch(/reason 0x1/)
  })

  it('has its ASID refused by the firmware until all caches were written back and the fabric flushed', () => {
    const { silicon, launch, host, command } = createHost()
    const { guest } = launch(false)
    const address = BigInt(guest.context) * 4096n
    expect(command('SNP_DECOMMISSION', SnpAddress.create({ address }))).toBe(PspStatus.SUCCESS)
    const context = BigInt(host.firmware.firmwarePage()) * 4096n
    host.firmware.run('SNP_GCTX_CREATE', SnpAddress.create({ address: context }))
    host.firmware.run('SNP_LAUNCH_START', SnpLaunchStart.create({ gctxPaddr: context, policy: 0x3_0000n }))
    const activate = (): number => command('SNP_ACTIVATE', SnpActivate.create({ gctxPaddr: context, asid: guest.asid }))
    expect(activate()).toBe(PspStatus.DFFLUSH_REQUIRED)
    expect(command('SNP_DF_FLUSH', new Uint8Array(8))).toBe(PspStatus.WBINVD_REQUIRED)
    silicon.writeBackCaches(0)
    expect(command('SNP_DF_FLUSH', new Uint8Array(8))).toBe(PspStatus.SUCCESS)
    expect(activate()).toBe(PspStatus.SUCCESS)
  })
})
