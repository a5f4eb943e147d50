/** The rules of SEV-SNP: one file each, and this table is the index. */
import type { SevRule } from '../rule.ts'
import { cpuidOutsideTable } from './cpuid-outside-table.ts'
import { doubleValidation } from './double-validation.ts'
import { earlyReference } from './early-reference.ts'
import { ghcbExposed } from './ghcb-exposed.ts'
import { ghcbMalformed } from './ghcb-malformed.ts'
import { ghcbPrivate } from './ghcb-private.ts'
import { ghcbUnregistered } from './ghcb-unregistered.ts'
import { loadPastEnd } from './load-past-end.ts'
import { msrUndefinedBits } from './msr-undefined-bits.ts'
import { noProgress } from './no-progress.ts'
import { privateAsShared } from './private-as-shared.ts'
import { pscUnchecked } from './psc-unchecked.ts'
import { pvalidateVmpl } from './pvalidate-vmpl.ts'
import { replacedPage } from './replaced-page.ts'
import { sharedAsPrivate } from './shared-as-private.ts'
import { sharedWhileValidated } from './shared-while-validated.ts'
import { unacceptedTable } from './unaccepted-table.ts'
import { unevicted } from './unevicted.ts'
import { unvalidatedAccess } from './unvalidated-access.ts'
import { vmplAccess } from './vmpl-access.ts'
import { vmsaTouched } from './vmsa-touched.ts'

export const SEV_RULES: readonly SevRule[] = [
  unvalidatedAccess, loadPastEnd, doubleValidation, sharedAsPrivate, privateAsShared, sharedWhileValidated,
  replacedPage, pscUnchecked, ghcbPrivate, ghcbUnregistered, ghcbMalformed, ghcbExposed, msrUndefinedBits,
  cpuidOutsideTable, pvalidateVmpl, vmplAccess, vmsaTouched, unevicted, unacceptedTable, noProgress, earlyReference,
]
