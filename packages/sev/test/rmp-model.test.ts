/**
 * The RMP against a small model of its own: regions that are either one page or 512, kept as plain objects, every rule
 * written as the manual's sentence and not as the table's bits.
 */
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { RmpCheck, createRmpGuard } from '../src/index.ts'
import type { RmpTable, RmpVerdict } from '../src/index.ts'
import { adjust, fixture, guest, guestAccess, hostAccess, smash, status, update, validate } from './rmp-fixture.ts'

interface Owned { asid: number; gpa: number; immutable: boolean; valid: boolean; perms: number[] }
interface Region { whole: Owned | null; parts: Map<number, Owned> }
type Model = Region[]

const emptyModel = (): Model => [0, 1].map(() => ({ whole: null, parts: new Map() }))
const fresh = (asid: number, gpa: number, immutable: boolean): Owned =>
  ({ asid, gpa, immutable, valid: false, perms: [15, 0, 0, 0] })

/** Who owns a page, and at which guest page the page itself lies. */
function owner(model: Model, page: number): { owned: Owned; gpa: number; whole: boolean } | null {
  const { whole, parts } = model[Math.floor(page / 512)]
  if (whole !== null) return { owned: whole, gpa: whole.gpa + (page % 512), whole: true }
  const owned = parts.get(page % 512)
  return owned === undefined ? null : { owned, gpa: owned.gpa, whole: false }
}

interface Assign { assign: boolean; whole: boolean; asid: number; gpa: number; fix: boolean }

function modelUpdate(model: Model, page: number, a: Assign): number {
  const region = model[Math.floor(page / 512)]
  if (a.whole && (page % 512 !== 0 || a.gpa % 512 !== 0)) return 1
  if (!a.assign && (a.fix || a.asid !== 0)) return 1
  const old = a.whole ? region.whole : owner(model, page)?.owned
  if (a.whole && region.whole === null && region.parts.size > 0) return 4
  if (old?.immutable === true) return 2
  if (!a.whole && region.whole !== null) return 4
  const same = old !== null && old !== undefined && a.assign && old.asid === a.asid && old.gpa === a.gpa
  if (same) old.immutable = a.fix
  else if (a.whole) region.whole = a.assign ? fresh(a.asid, a.gpa, a.fix) : null
  else if (a.assign) region.parts.set(page % 512, fresh(a.asid, a.gpa, a.fix))
  else region.parts.delete(page % 512)
  return 0
}

function modelSmash(model: Model, page: number): number {
  const region = model[Math.floor(page / 512)]
  if (page % 512 !== 0) return 1
  const { whole } = region
  if (whole === null) return 4
  if (whole.immutable) return 2
  region.whole = null
  for (let i = 0; i < 512; i++) region.parts.set(i, { ...whole, gpa: whole.gpa + i, perms: [...whole.perms] })
  return 0
}

/** Why guest 1 may not use a page as private memory. */
function modelPrivate(model: Model, page: number, gpa: number, shift: number): RmpVerdict {
  const at = owner(model, page)
  if (at?.owned.asid !== 1) return RmpCheck.REVERSE_MAP
  if (at.gpa !== gpa) return RmpCheck.GUEST_ADDRESS
  if (at.owned.immutable) return RmpCheck.IMMUTABLE
  return at.whole === (shift === 21) ? RmpCheck.PASSED : RmpCheck.PAGE_SIZE
}

function modelOperand(model: Model, page: number, gpa: number, shift: number, whole: boolean): string | number {
  const verdict = modelPrivate(model, page, gpa, shift)
  if (verdict !== RmpCheck.PASSED && verdict !== RmpCheck.PAGE_SIZE) return `check ${verdict}`
  const isWhole = owner(model, page)?.whole === true
  if (whole && !isWhole) return 6
  if (!whole && isWhole) return `check ${RmpCheck.SIZE_MISMATCH}`
  return verdict === RmpCheck.PASSED ? 0 : `check ${verdict}`
}

function modelValidate(model: Model, c: Command): string | number {
  if (c.whole && c.gpa % 512 !== 0) return 1
  const bad = modelOperand(model, c.page, c.gpa, c.shift, c.whole)
  if (bad !== 0) return bad
  const at = owner(model, c.page)
  if (at !== null) at.owned.valid = c.flag
  return 0
}

function modelAdjust(model: Model, c: Command): string | number {
  if (c.whole && c.gpa % 512 !== 0) return 1
  if (c.target <= c.vmpl) return 2
  const bad = modelOperand(model, c.page, c.gpa, c.shift, c.whole)
  if (bad !== 0) return bad
  const owned = owner(model, c.page)?.owned
  if (owned === undefined) return 'nobody'
  if (!owned.valid) return `check ${RmpCheck.NOT_VALIDATED}`
  if ((c.perms & ~owned.perms[c.vmpl]) !== 0) return 2
  owned.perms[c.target] = c.perms
  return 0
}

interface Command {
  op: 'update' | 'smash' | 'validate' | 'adjust'
  page: number; gpa: number; asid: number; whole: boolean; shift: number; flag: boolean; fix: boolean
  vmpl: number; target: number; perms: number
}

const PAGES = [0, 1, 2, 511, 512, 513, 700, 1023]
const command: fc.Arbitrary<Command> = fc.record<Command>({
  op: fc.constantFrom('update', 'update', 'smash', 'validate', 'validate', 'adjust'),
  page: fc.constantFrom(...PAGES),
  // Mostly the page's own number, so that commands meet.
  gpa: fc.constantFrom(-1, -1, -1, -1, 0, 512),
  asid: fc.constantFrom(1, 1, 1, 2, 0),
  whole: fc.boolean(), shift: fc.constantFrom(12, 21), flag: fc.boolean(),
  fix: fc.constantFrom(false, false, false, true),
  vmpl: fc.constantFrom(0, 0, 1, 2), target: fc.constantFrom(1, 2, 3, 0), perms: fc.constantFrom(0, 1, 3, 5, 15),
}).map((c) => ({ ...c, gpa: c.gpa < 0 ? c.page : c.gpa }))

function run(rmp: RmpTable, model: Model, c: Command): [unknown, unknown] {
  const at = { page: c.page, guestPage: c.gpa, shift: c.shift }
  const size = c.whole ? 1 : 0
  switch (c.op) {
    case 'update': {
      const state = { assigned: c.flag ? 1 : 0, pageSize: size, asid: c.asid, gpa: c.gpa, immutable: c.fix ? 1 : 0 }
      return [status(update(rmp, c.page, state)), modelUpdate(model, c.page, { ...c, assign: c.flag })]
    }
    case 'smash': return [status(smash(rmp, c.page)), modelSmash(model, c.page)]
    case 'validate': return [status(validate(rmp, at, c.flag ? 1 : 0, size)), modelValidate(model, c)]
    case 'adjust': return [status(adjust(rmp, at, c, size, guest(1, c.vmpl))), modelAdjust(model, c)]
  }
}

it('does what the model does, and lets pass what the model lets pass', () => {
  fc.assert(fc.property(fc.array(command, { minLength: 1, maxLength: 40 }), fc.integer(), (commands, seed) => {
    const { rmp } = fixture(seed % 2 === 0 ? 0 : 77)
    const { check } = createRmpGuard(rmp)
    const model = emptyModel()
    for (const c of commands) {
      const [real, wanted] = run(rmp, model, c)
      expect([c, real]).toEqual([c, wanted])
      for (const page of PAGES) {
        const at = owner(model, page)
        expect(check(hostAccess(page, 3)) === 0).toBe(at === null)
        const region = model[Math.floor(page / 512)]
        expect(check(hostAccess(page, 3, 21)) === 0).toBe(region.whole === null && region.parts.size === 0)
        const shift = at?.whole === true ? 21 : 12
        const guestPage = at?.gpa ?? page
        for (const vmpl of [0, 2]) {
          const allowed = modelPrivate(model, page, guestPage, shift) === RmpCheck.PASSED && at?.owned.valid === true &&
            (at.owned.perms[vmpl] & 1) !== 0
          expect(check(guestAccess({ page, guestPage, shift }, 1, { vmpl })) === 0).toBe(allowed)
        }
      }
    }
  }), { numRuns: 150 })
})
