/** Attacks on a private page that the guest uses. */
import { hex } from '../../errors.ts'
import { createPageInUse } from '../page-in-use.ts'
import { remembered, rememberedPage } from '../types.ts'
import type { Attack, AttackServices, AttackState, EntryVcpu } from '../types.ts'

const PAGE = 4096
const address = (page: number): string => hex(page * PAGE)

/** Looks for memory in use when the moment has come, and strikes there until that has worked once. */
function onPageInUse(services: AttackServices, strike: (page: number, gpa: number) => boolean) {
  const page = createPageInUse(services)
  let done = false
  return {
    snapshot: () => ({ ...page.snapshot(), done }),
    restore(saved: AttackState) {
      page.restore(saved)
      done = remembered(saved, 'done', done)
    },
    entry(vcpu: EntryVcpu) {
      if (done || !services.due()) return
      const gpa = page.entry(vcpu)
      if (gpa >= 0) done = strike(Math.floor(gpa / PAGE), gpa)
    },
  }
}

/** Takes the page by RMPUPDATE, and gives it back when the guest wants it: it is not validated any more. */
export const unmap: Attack = {
  about: 'takes a private page away and gives it back',
  create: (services) => onPageInUse(services, (page) => {
    if (services.memory.makeShared(page) !== 'done') return false
    services.did(`took the private page at ${address(page)} away and gave it back`)
    return true
  }),
}

/** Leads a guest physical address to the system page behind the next one, which is the guest's as well. */
export const remap: Attack = {
  about: "maps a private page's address to another of the guest's pages",
  create: (services) => onPageInUse(services, (page) => {
    const { memory, npt } = services
    const other = memory.isRam(page + 1) && memory.systemPage(page + 1) >= 0 ? page + 1 : page - 1
    const [own, others] = [memory.systemPage(page), memory.systemPage(other)]
    if (own < 0 || others < 0 || memory.smash(page) !== 'done') return false
    npt.map(page, others)
    services.flush()
    services.did(`mapped ${address(page)} to the page that belongs at ${address(other)}`)
    return true
  }),
}

/** Instructions between taking the copy and putting it back. */
const OLD = 2_000_000

/**
 * Keeps what it sees of a page, and puts that back later: by RMPUPDATE, because the RMP keeps the host off the page.
 */
export const replay: Attack = {
  about: 'puts an old copy of a private page back',
  create(services) {
    let copy: Uint8Array | undefined
    let at = 0
    const hooks = onPageInUse(services, (page) => {
      const { memory, physical, instructions } = services
      if (copy === undefined) {
        copy = new Uint8Array(PAGE)
        physical.read(memory.systemPage(page) * PAGE, copy)
        at = instructions()
      }
      if (instructions() < at + OLD) return false
      if (memory.makeShared(page) !== 'done') return false
      physical.write(memory.systemPage(page) * PAGE, copy)
      memory.makePrivate(page)
      services.did(`put back what had been at ${address(page)} ${instructions() - at} instructions before`)
      return true
    })
    return {
      ...hooks,
      snapshot: () => ({ ...hooks.snapshot(), copy: copy?.slice() ?? null, at }),
      restore(saved) {
        hooks.restore(saved)
        copy = rememberedPage(saved, 'copy')
        at = remembered(saved, 'at', at)
      },
    }
  },
}

/**
 * Turns one bit over in the ciphertext that the guest reads next, as a fault of the memory does: no RMP is in the
 * way.
 */
export const flip: Attack = {
  about: "flips a bit of a private page's ciphertext in the memory chips",
  create: (services) => onPageInUse(services, (page, gpa) => {
    const { memory, physical, below } = services
    const bit = below(8)
    const at = memory.systemPage(page) * PAGE + gpa % PAGE
    const byte = new Uint8Array(1)
    physical.read(at, byte)
    byte[0] ^= 1 << bit
    physical.write(at, byte)
    services.did(`flipped bit ${bit} of the ciphertext of the byte at ${hex(gpa)}`)
    return true
  }),
}
