/** SNP guests of the reference host whose code is what a case wants; their page tables reach all of memory twice. */
import { flatSegments, Reg, snpDirectBoot, vmsaOf, type Assembler } from '@cofferdam/boot'
import { createMachine, inspectProcessor, type Machine, type MachineOptions, type Snapshot } from '@cofferdam/machine'
import type { Random } from '@cofferdam/oracle'
import { GuestMessageHeader } from '@cofferdam/spec'
import type { VtpmBackend } from '@cofferdam/svsm'
import { bzImage } from '../../inside.ts'
import { everyDevice } from '../machine/bench.ts'

const MiB = 2 ** 20
export const MEMORY = 32 * MiB
/** Where things lie in the guest's memory; the kernel, which only waits, is at 16 MiB. */
export const AT = {
  code: 0x140_0000, idt: 0x141_0000, idtr: 0x141_1000, stack: 0x142_0000, step: 0x143_0000, steps: 0x143_1000,
  alias: 0x144_0000, otherCode: 0x145_0000, otherStack: 0x146_0000, vmsa: 0x147_1000,
  /** A page of what each step copies from; registers, lists and messages lie behind it. */
  data: 0x150_0000,
  ghcb: 0x160_0000,
  /** 2 MiB that cases do anything with. */
  play: 0x180_0000,
} as const
/** Linear address that maps guest physical address 0 once more, without the C-bit. */
export const SHARED = 2 ** 39
const C_BIT = 51
/** All machines have one chip, whose keys take seconds to find. */
export const SEED = 1
const CODE_LIMIT = 0x1_0000

/** Instructions of a run, most of which wait for the machine's turn to end; and runs until a case is over. */
const SLICE = 100_000
const SLICES = 12
export interface SnpBench {
  readonly machine: Machine
  readonly vcpus: number
  /** An SVSM has VMPL0, the guest this level; 0 without one. */
  readonly vmpl: number
  /** Guest physical addresses of the secrets, and of the SVSM's first calling area. */
  readonly secrets: number
  readonly callingArea: number
  /** The secrets page as the guest finds it. */
  readonly secretsPage: Uint8Array
  /** Messages under each VMPCK so far, as the firmware counts them. */
  readonly sent: (bigint | undefined)[]
  /** Looks at what the firmware answered, in shared memory. */
  learn(address: number): void
  /** Writes to the guest's memory as its first processor would; false where it could not. */
  put(address: number, bytes: Uint8Array): boolean
  /** A VMSA for another processor, or level, of the guest's. */
  save(vmpl: number): Uint8Array
  /** Runs steps one after the other, whatever exceptions they take; answers how it ended. */
  run(steps: readonly ((asm: Assembler) => void)[], assemble: () => Assembler): string
}

const { rax, rbx, rcx, rsp, rdi } = Reg

/** Where an exception leads, and a step that is done: to the next step, or to the end, where the processor waits. */
function goOn(asm: Assembler, steps: number): void {
  asm.label('next')
  asm.set(rsp, AT.stack)
  asm.set(rbx, AT.step)
  asm.load(rax, rbx)
  asm.set(rcx, steps)
  asm.alu('cmp', rax, rcx)
  asm.jumpIf('ae', 'end')
  asm.move(rcx, rax)
  asm.aluImmediate('add', rax, 1)
  asm.store(rbx, 0, rax)
  asm.shiftLeft(rcx, 3)
  asm.set(rbx, AT.steps)
  asm.alu('add', rbx, rcx)
  asm.load(rax, rbx)
  asm.jumpTo(rax)
  asm.label('end')
  asm.jump('end')
}

/** An IDT whose gates all lead to one place. */
function interruptTable(handler: number): Uint8Array {
  const idt = new Uint8Array(256 * 16)
  const view = new DataView(idt.buffer)
  for (let vector = 0; vector < 256; vector++) {
    view.setUint16(16 * vector, handler & 0xffff, true)
    view.setUint16(16 * vector + 2, 0x10, true)
    view.setUint16(16 * vector + 4, 0x8e00, true)
    view.setUint32(16 * vector + 6, handler >>> 16, true)
  }
  return idt
}

function descriptor(): Uint8Array {
  const bytes = new Uint8Array(10)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, 0xfff, true)
  view.setBigUint64(2, BigInt(AT.idt), true)
  return bytes
}

const qwords = (...values: bigint[]): Uint8Array => new Uint8Array(BigUint64Array.from(values).buffer)
/** 4 GiB in pages of 1 GiB, shared. */
const aliasTable = (): Uint8Array => qwords(...[0, 1, 2, 3].map((i) => BigInt(i) << 30n | 0x83n))

/** The kernel: it waits for a case to take its place. */
const waiting = (asm: Assembler): void => {
  asm.plain('cli')
  asm.set(rdi, 0x5ec2)
  asm.label('wait')
  asm.jump('wait')
}

const CREATE_PRIMARY = 0x131
/** A TPM that makes an endorsement key of zeroes, and answers all else with TPM_RC_FAILURE. */
const poorTpm: VtpmBackend = {
  command(command) {
    if (new DataView(command.buffer, command.byteOffset).getUint32(6) !== CREATE_PRIMARY) {
      return Uint8Array.of(0x80, 1, 0, 0, 0, 10, 0, 0, 1, 1)
    }
    const response = new Uint8Array(20 + 314)
    new DataView(response.buffer).setUint16(18, 314)
    return response
  },
}

/** One in so many guests under an SVSM has a TPM. They are made anew: a TPM is a program outside, in no snapshot. */
const WITH_TPM = 24

interface Guest {
  readonly vcpus: number
  readonly vmpl: number
  readonly tpm: boolean
}

function startGuest({ vcpus, vmpl, tpm }: Guest): Machine {
  const options: MachineOptions = {
    kernel: bzImage(waiting), append: '', memory: MEMORY, vcpus, seed: SEED, engine: 'interp', cpu: 'amd', cc: 'snp',
    onSerial: () => undefined, ...everyDevice(), ...vmpl > 0 && { svsm: { vmpl, ...tpm && { vtpm: poorTpm } } },
  }
  const machine = createMachine(options)
  for (let runs = 0; runs < 400; runs++) {
    machine.run({ instructions: SLICE })
    if (machine.reside?.(0) === true && inspectProcessor(machine).get('rdi') === 0x5ec2n) return machine
  }
  throw new Error('the guest does not come to its kernel')
}

/** Guests that wait in their kernel, by what they are: each is started once, and forked from then on. */
const started = new Map<string, Snapshot>()

function createGuest(guest: Guest): Machine {
  if (guest.tpm) return startGuest(guest)
  const key = `${guest.vcpus} at ${guest.vmpl}`
  let snapshot = started.get(key)
  if (snapshot === undefined) started.set(key, snapshot = startGuest(guest).snapshot())
  return snapshot.fork({ engine: 'interp', onSerial: () => undefined, ...everyDevice() })
}

export function createSnpBench(random: Random, underSvsm: boolean): SnpBench {
  const vmpl = underSvsm ? 1 + random.below(3) : 0
  const vcpus = 1 + random.below(3)
  const machine = createGuest({ vcpus, vmpl, tpm: underSvsm && random.below(WITH_TPM) === 0 })
  const view = inspectProcessor(machine)
  const image = snpDirectBoot({
    kernel: bzImage(waiting).bytes, cmdline: '', memory: MEMORY, cBit: C_BIT,
    acpi: { apicIds: Array.from({ length: vcpus }, (_, i) => i) }, accept: 'lazy', callingArea: underSvsm,
  })
  const secrets = image.launch.find(({ type }) => type === 'secrets')?.start ?? 0
  const put = (address: number, bytes: Uint8Array): boolean =>
    machine.reside?.(0) === true && view.write(BigInt(address), bytes)
  const cr3 = view.get('cr3') & ~(1n << BigInt(C_BIT))
  const sent: (bigint | undefined)[] = []
  const encrypted = 1n << BigInt(C_BIT)
  put(Number(cr3) + 8, qwords(BigInt(AT.alias) | encrypted | 3n))
  put(AT.alias, aliasTable())

  return {
    machine, vcpus, vmpl, secrets, put, callingArea: image.callingArea ?? 0,
    secretsPage: view.read(BigInt(secrets), 4096), sent,
    learn(address) {
      if (machine.reside?.(0) !== true) return
      const page = view.read(BigInt(SHARED + address), GuestMessageHeader.size)
      if (page.length < GuestMessageHeader.size) return
      const { vmpck, sequence, headerSize } = GuestMessageHeader.read(new DataView(page.buffer))
      if (headerSize === GuestMessageHeader.size && vmpck < 4 && sequence > (sent[vmpck] ?? 0n)) sent[vmpck] = sequence
    },
    save: (level) => vmsaOf({
      ...image.state, cr3: cr3 | encrypted, rip: BigInt(AT.otherCode), registers: { rsp: BigInt(AT.otherStack) },
      segments: flatSegments(0x10, 0x18, true),
    }, 0n, level),
    run(steps, assemble) {
      const asm = assemble()
      asm.set(rdi, AT.idtr)
      asm.bytes(0x0f, 0x01, 0x1f) // lidt [rdi]
      goOn(asm, steps.length)
      steps.forEach((step, i) => {
        asm.label(`step ${i}`)
        step(asm)
        asm.jump('next')
      })
      const code = asm.assemble()
      if (code.length > CODE_LIMIT) throw new Error(`${code.length} bytes of code`)
      const places = steps.map((_, i) => BigInt(AT.code + asm.offsetOf(`step ${i}`)))
      const written = put(AT.idt, interruptTable(AT.code + asm.offsetOf('next'))) && put(AT.idtr, descriptor())
        && put(AT.step, qwords(0n)) && put(AT.steps, qwords(...places)) && put(AT.code, code)
      if (!written) return 'has lost its memory'
      view.set('rip', BigInt(AT.code))
      view.set('rsp', BigInt(AT.stack))
      return finish(machine, BigInt(AT.code + asm.offsetOf('end')))
    },
  }
}

/** What is said of guests that end without wanting to. */
const ENDS = ['makes no progress', 'triple fault', 'cannot run the guest']

/** Runs until the first processor waits at the end, or the machine ends or waits for ever. */
function finish(machine: Machine, end: bigint): string {
  for (let i = 0; i < SLICES; i++) {
    const result = machine.run({ instructions: SLICE })
    if (result.reason === 'shutdown') return ENDS.find((words) => result.message.includes(words)) ?? 'ends itself'
    if (result.reason !== 'budget' && result.reason !== 'idle') return result.reason
    if (result.reason === 'idle' && result.idleUntil === undefined) return 'waits for ever'
    if (machine.reside?.(0) === true && inspectProcessor(machine).get('rip') === end) return 'done'
  }
  return 'goes on'
}
