/**
 * One processor of a guest: a physical processor enters it, its exits are served, and its virtual local APIC decides
 * what it is interrupted by. It runs for so many instructions at a time, as the machine's scheduler says.
 */
import { EventInject, SvmExitFailure } from '@cofferdam/spec'
import type { GuestProgram } from '@cofferdam/sev'
import type { Svsm } from '@cofferdam/svsm'
import { APIC_EVENT, type HostWatch, type LocalApic, type Svm, type SvmVmexit } from '@cofferdam/x86'
import { SnapshotError } from '@cofferdam/devices'
import type { GuestCpu, GuestCpuState } from '../cpu/guest-cpu.ts'
import { hex } from '../errors.ts'
import { createVmgexitServer } from '../ghcb/server.ts'
import type { GuestEnd, GuestServices, VcpuPause } from '../ghcb/types.ts'
import type { Npt } from '../memory/npt.ts'
import type { Hostile } from '../hostile/index.ts'
import { VMEXITS } from '../vmexit/index.ts'
import type { VmexitVcpu } from '../vmexit/types.ts'
import { COSTS } from './costs.ts'
import { createInjection, type InjectionState } from './injection.ts'
import { createProgress, type ProgressState, STUCK } from './progress.ts'
import { createProgramSeat, type ProgramSeat } from './program-seat.ts'
import type { Vmcb } from './vmcb.ts'
import { createVmpls, type VmplsState } from './vmpls.ts'

export interface VcpuOptions {
  readonly index: number
  /** The physical processor that runs it, and nobody else. */
  readonly svm: Svm
  readonly vmcb: Vmcb
  readonly apic: LocalApic
  readonly cpu: GuestCpu
  readonly guest: GuestServices & { readonly npt: Npt }
  /** The next vector of the PIC. */
  readonly picAcknowledge: () => number
  /** The guest's VMPL0 is this program's, carried out by these instructions; machine code's without. */
  readonly svsm?: { readonly program: Svsm, readonly instructions: GuestProgram }
  readonly watch?: GuestWatch | undefined
  /** An exit was served. */
  readonly onExit: (name: string, malformed: string | undefined) => void
  /** What a hostile host does beside. */
  readonly hostile?: Pick<Hostile, 'entry' | 'ran'>
  /** Whether a system page is RAM; asked of pages that come from a snapshot. */
  readonly isRam: (page: number) => boolean
}

/** Sees when a guest's processors run and leave, to account for their time. */
export interface GuestWatch {
  /** A processor's turn begins. */
  turn(index: number): void
  /** The running processor's guest left for the host; then what for; then the host is done with it. */
  exitBegins(): void
  exitIs(name: string): void
  exitEnds(): void
}

/** What a scheduler needs of something that it gives turns to. */
export interface Vcpu {
  readonly index: number
  readonly apic: LocalApic
  readonly vmcb: Vmcb
  /** Why it stopped for good: never, a guest ends as a whole. */
  readonly stopped: ''
  /** It waits for an interrupt or for its start. */
  readonly halted: boolean
  readonly counts: { pauses: number }
  /** The level that runs, or would, has a VMSA. */
  readonly started: boolean
  /** The debugger's watch that ended the last turn, or null. */
  readonly trapped: HostWatch | null
  /** A halted one that has something to wake up for. */
  wakes(): boolean
  /**
   * Runs at most so many instructions, less what is charged meanwhile; answers how many. With `yields`, spinning ends
   * the turn. A `part` of a slice may end sooner, as in `Processor.run`.
   */
  run(instructions: number, yields: boolean, part?: boolean): number
  /** The turn ended before its instructions were used up: it was stopped, or waits. */
  wasStopped(): boolean
  /** Ends the turn at the next instruction. */
  stop(): void
  /** Sets the time-stamp counter before a turn. */
  setTime(time: number): void
  /** Lets time go on in the middle of a turn. */
  charge(time: number): void
  /** Instructions of the present turn. */
  progress(): number
  /** Executes about one instruction, after what interrupts it; answers how many. */
  stepOne(): number
  /**
   * For a debugger, which is the emulator's and no host's: puts the guest's state into the physical processor, as an
   * entry does. Answers whether there is any.
   */
  reside(): boolean
  /**
   * While a program runs at VMPL0 for the guest: the system page of the VMSA of the level that has called it, which
   * says where the guest itself is. Otherwise undefined.
   */
  programFor(): number | undefined
  /**
   * Gives a privilege level a VMSA and has it run from now on; undefined: takes it away.
   * @param held it first waits for a start-up IPI, as processors do after reset
   */
  setVmsa(vmpl: number, systemPage: number | undefined, held?: boolean): void
  /** Gives a level a VMSA while another one goes on. */
  addVmsa(vmpl: number, systemPage: number): void
  /** Has another level run next; false when it has no VMSA. */
  runVmpl(vmpl: number): boolean
  /** Takes an APIC's INIT and start-up requests; the guest's own way to start processors is AP creation. */
  takeStartup(): void
  /** Between two turns. */
  snapshot(): VcpuState
  /** Takes that back; memory, with the VMCB, is there, and its APIC has its state. @throws SnapshotError */
  restore(saved: VcpuState): void
}

const PAGE = 4096n

/** What a snapshot keeps of a guest's processor beside its VMCB, its VMSAs and the physical processor that runs it. */
export interface VcpuState {
  readonly vmpls: VmplsState
  readonly injection: InjectionState
  readonly cpu: GuestCpuState
  readonly waiting: string
  readonly pauses: number
  readonly progress: ProgressState
}

const WAITS: readonly string[] = ['no', 'halt', 'reset-hold']

export function createVcpu(options: VcpuOptions): Vcpu {
  const { index, svm, vmcb, apic, cpu, svsm, watch, hostile } = options
  const { processor } = svm
  let ended = false
  const guest = {
    ...options.guest,
    end(how: GuestEnd) {
      ended = true
      options.guest.end(how)
    },
  }
  const server = createVmgexitServer(guest)
  const vmpls = createVmpls(vmcb, options.isRam)
  /** The level that runs after the exit that is being served. */
  let next = 0
  const runnable = (): boolean => vmpls.has(vmpls.current)
  /** The level that runs is the program's, which takes no interrupts. */
  const isProgram = (): boolean => svsm !== undefined && vmpls.current === 0
  let waiting: 'no' | VcpuPause = 'no'
  let stopping = false
  let yields = false
  let inside = false
  /** Instructions of this turn, and nanoseconds that were charged beside them. */
  let done = 0
  let charged = 0
  let trapped: HostWatch | null = null
  const progress = createProgress()
  const injection = createInjection(vmcb, apic, options.picAcknowledge)

  const vcpu: VmexitVcpu = {
    index, apic, cpu, vmcb,
    get dr7() { return vmpls.state.dr7 },
    set dr7(value) { vmpls.state.dr7 = value },
    get ghcb() { return vmpls.state.ghcb },
    set ghcb(gpa) { vmpls.state.ghcb = gpa },
    get vmpl() { return vmpls.current },
    nmiDone() { injection.nmiDone() },
    pause(how) {
      if (how === 'yield') {
        self.counts.pauses++
        if (yields) stopping = true
      } else waiting = how
    },
    closeWindow() { injection.closeWindow() },
    stuck(what) {
      const at = vmcb.get('exitInfo2')
      if (!progress.fault(at)) return
      guest.fact(index, { kind: 'stuck', gpa: at, text: `${STUCK} times in a row ${what}` })
      guest.end({
        why: `vCPU ${index}: the guest makes no progress: ${STUCK} times in a row ${what}`, page: Number(at / PAGE),
      })
    },
  }

  /** Nothing of the level that ran is on its way any more. */
  const leaveLevel = (): void => {
    if (svm.inGuest) svm.kick()
    injection.clear()
  }

  const serve = ({ code, info1, info2, retired }: SvmVmexit): void => {
    progress.ran(retired)
    guest.charge(COSTS.vmexit)
    const handler = VMEXITS.get(code)
    if (handler !== undefined) {
      handler({ info1, info2, guest, vcpu, server, note: options.onExit })
      if (next !== vmpls.current) {
        leaveLevel()
        vmpls.select(next)
      }
      return
    }
    const failed = BigInt.asUintN(64, BigInt(code))
    options.onExit(`code-${hex(failed)}`, undefined)
    // A VMSA that is in use is another's; the entry can be tried again.
    if (failed === SvmExitFailure.BUSY) stopping = true
    else guest.end({
      why: `vCPU ${index}: the processor cannot run the guest: exit code ${hex(failed)}, ${hex(info1)}`,
    })
  }

  const seat: ProgramSeat | undefined = svsm === undefined ? undefined : createProgramSeat({
    index, svm, vmcb, ...svsm, serve, ended: () => ended,
    retire: () => { done++ },
  })

  const wakes = (): boolean => {
    if (!runnable() || isProgram()) return false
    if (waiting === 'reset-hold') return (apic.pendingEvents() & (APIC_EVENT.INIT | APIC_EVENT.STARTUP)) !== 0
    return injection.wakes()
  }

  /** Machine code up to its next exit; false when the turn's instructions are used up. */
  const runCode = (instructions: number, part: boolean): boolean => {
    if (svm.inGuest && injection.wanted()) {
      watch?.exitBegins()
      svm.kick()
      options.onExit('interrupt', undefined)
      watch?.exitEnds()
    }
    if (!svm.inGuest) {
      injection.inject()
      hostile?.entry(vcpu)
      if ((vmcb.get('eventInj') & EventInject.mask.V) !== 0n) progress.injected()
    }
    inside = true
    const result = svm.vmrun(vmcb.address, instructions, part)
    inside = false
    // An exit counts as an instruction at least: a guest that only exits uses its turn up, too.
    done += Math.max(1, result.retired)
    hostile?.ran(result.retired)
    ;({ trapped } = processor)
    if (result.exit !== 'vmexit') return false
    watch?.exitBegins()
    serve(result)
    watch?.exitEnds()
    return trapped === null
  }

  const self: Vcpu = {
    index, apic, vmcb, wakes, stopped: '',
    counts: { pauses: 0 },
    get halted() { return !runnable() || waiting !== 'no' },
    get started() { return runnable() },
    get trapped() { return trapped },
    run(instructions, yielding, part = false) {
      trapped = null
      done = 0
      charged = 0
      stopping = false
      yields = yielding
      if (waiting !== 'no' && wakes()) waiting = 'no'
      watch?.turn(index)
      while (done + charged < instructions && runnable() && waiting === 'no' && !stopping) {
        if (seat !== undefined && isProgram()) {
          watch?.exitBegins()
          seat.run()
          watch?.exitEnds()
          continue
        }
        if (!runCode(instructions - done - charged, part)) break
      }
      return done
    },
    stepOne: () => self.run(1, false),
    reside() {
      if (ended || !runnable() || isProgram()) return false
      if (svm.inGuest) return true
      const entered = svm.perform(vmcb.address, () => undefined)
      if (entered.kind === 'exit') serve(entered.exit)
      return svm.inGuest
    },
    programFor: () => (isProgram() ? vmpls.outermost() : undefined),
    stop() {
      stopping = true
      if (inside) processor.stop()
    },
    setTime(time) { processor.setTime(time) },
    wasStopped: () => stopping || self.halted,
    charge(time) {
      charged += time
      processor.charge(time)
    },
    progress: () => done + (inside ? processor.progress() : 0),
    setVmsa(vmpl, systemPage, held = false) {
      if (systemPage !== undefined || vmpl === vmpls.current) {
        leaveLevel()
        waiting = held ? 'reset-hold' : 'no'
        injection.nmiDone()
        stopping = true
      }
      vmpls.setVmsa(vmpl, systemPage)
      if (systemPage === undefined) return
      vmpls.select(vmpl)
      next = vmpl
    },
    addVmsa(vmpl, systemPage) { vmpls.setVmsa(vmpl, systemPage) },
    runVmpl(vmpl) {
      if (!vmpls.has(vmpl)) return false
      next = vmpl
      return true
    },
    takeStartup() {
      apic.takeInit()
      if (apic.takeStartup() >= 0 && waiting === 'reset-hold') waiting = 'no'
    },
    snapshot: () => ({
      vmpls: vmpls.snapshot(), injection: injection.snapshot(), cpu: cpu.snapshot(), waiting,
      pauses: self.counts.pauses, progress: progress.snapshot(),
    }),
    restore(saved) {
      if (!WAITS.includes(saved.waiting)) {
        throw new SnapshotError('guest', 'vcpus.waiting', `one of ${WAITS.join(', ')}`)
      }
      vmpls.restore(saved.vmpls)
      injection.restore(saved.injection)
      cpu.restore(saved.cpu)
      next = vmpls.current
      waiting = saved.waiting as typeof waiting
      self.counts.pauses = saved.pauses
      progress.restore(saved.progress)
    },
  }
  return self
}
