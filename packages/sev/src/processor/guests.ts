/** Guests as VMRUN finds them: without SEV, with SEV, with encrypted state (APM vol. 2, §15.34.3). */
import { NestedControl } from '@cofferdam/spec'
import type { GuestControl, GuestKind, StatePage } from '@cofferdam/x86'
import { loadGuest, pageAt, SAVE_AT, saveGuest, usesNestedPaging, VMEXIT_INVALID } from '@cofferdam/x86'
import { runAs, sysCfgHas } from './context.ts'
import type { SevGuest, SevProcessor } from './context.ts'
import { encryptedGuest } from './encrypted.ts'
import { hwcrOf } from './msrs.ts'

const SMM_LOCK = 1n
const SEV = Number(NestedControl.mask.SEV_ENABLE)
const SEV_ES = Number(NestedControl.mask.SEV_ES_ENABLE)
const LBR = 1n

/** A guest without encrypted state: SVM's own ways, under the guest's keys and rights. */
export function plainGuest(sev: SevProcessor, vmcb: StatePage, control: GuestControl, encrypts: boolean): GuestKind {
  const { cpu } = sev.processor
  const nested = usesNestedPaging(control)
  const guest: SevGuest = {
    asid: control.asid & 0x3ff, sev: encrypts, es: false, snp: false, vmpl: 0, features: 0n, vtomPage: -1, ghcb: 0n,
    tscScale: 0n,
  }
  return {
    control, everyPort: false, encryptedState: false, tsc: null, tag: 'plain', eventInj: control.eventInj,
    load() {
      runAs(sev, guest)
      return loadGuest(cpu, vmcb.frame + SAVE_AT, nested)
    },
    save(_exit, rip) {
      saveGuest(cpu, pageAt(sev.shared.memory, vmcb.address).frame + SAVE_AT, rip, nested)
    },
    left() { runAs(sev, null) },
    intercepted: (exit) => exit,
    interceptsMsr: (_index, _write, marked) => marked,
  }
}

/** Checks that VMRUN makes of every guest with SEV (§15.34.3, §15.35.2). */
function isSevLegal(sev: SevProcessor, control: GuestControl, es: boolean): boolean {
  const { shared, system } = sev
  if (!usesNestedPaging(control) || (hwcrOf(system) & SMM_LOCK) === 0n) return false
  if (control.asid > shared.maxAsid || (!es && control.asid < shared.minSevAsid)) return false
  return !es || (control.virtualization & LBR) !== 0n
}

/** The kind of guest that a VMCB asks for, or the EXITCODE that VMRUN fails with. */
export function guestOf(sev: SevProcessor, vmcb: StatePage, control: GuestControl): GuestKind | number {
  // With encryption off the bits of SEV are ignored (§15.34.3).
  const bits = sysCfgHas(sev.system, 'MemEncryptionModeEn') ? Number(control.nested & 0xffn) : 0
  const es = (bits & SEV_ES) !== 0
  if ((bits & SEV) === 0) return es ? VMEXIT_INVALID : plainGuest(sev, vmcb, control, false)
  if (!isSevLegal(sev, control, es)) return VMEXIT_INVALID
  return es ? encryptedGuest(sev, vmcb, control) : plainGuest(sev, vmcb, control, true)
}
