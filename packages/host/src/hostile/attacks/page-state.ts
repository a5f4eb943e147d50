/** Page state changes that the host does not make, and says so or not. */
import { hex } from '../../errors.ts'
import type { GuestMemory, MemoryOutcome } from '../../memory/guest-memory.ts'
import { remembered } from '../types.ts'
import type { Attack } from '../types.ts'

const LARGE = 512
type Changes = Pick<GuestMemory, 'makePrivate' | 'makePrivateLarge' | 'makeShared' | 'makeSharedLarge'>

/**
 * Puts `judge` before the four changes; what it answers is the outcome, undefined leaves the change to the honest
 * host.
 */
const intercept = (
  honest: GuestMemory, judge: (page: number, pages: number, to: string) => MemoryOutcome | undefined,
): Changes => ({
  makePrivate: (page) => judge(page, 1, 'private') ?? honest.makePrivate(page),
  makePrivateLarge: (page) => judge(page, LARGE, 'private') ?? honest.makePrivateLarge(page),
  makeShared: (page) => judge(page, 1, 'shared') ?? honest.makeShared(page),
  makeSharedLarge: (page) => judge(page, LARGE, 'shared') ?? honest.makeSharedLarge(page),
})

const size = (pages: number): string => (pages === 1 ? '4 KiB' : '2 MiB')
const address = (page: number): string => hex(page * 4096)

/** Every page state change fails. */
export const refusePsc: Attack = {
  about: 'refuses page state changes',
  create: ({ due, did }) => ({
    memory: (honest) => ({
      ...honest,
      ...intercept(honest, (page, pages, to) => {
        if (!due()) return undefined
        did(`refused to make ${size(pages)} at ${address(page)} ${to}`)
        return 'refused'
      }),
    }),
  }),
}

/** One change to private is said to be done, and is not; nor are the pages changed when the guest touches them. */
export const liePsc: Attack = {
  about: 'says that it has made a page private, and does nothing',
  create({ due, did }) {
    let first = -1
    let end = -1
    return {
      snapshot: () => ({ first, end }),
      restore(saved) {
        first = remembered(saved, 'first', first)
        end = remembered(saved, 'end', end)
      },
      memory: (honest) => ({
        ...honest,
        ...intercept(honest, (page, pages, to) => {
          if (to !== 'private' || !due() || (first >= 0 && !(page >= first && page < end))) return undefined
          first = page
          end = page + pages
          did(`said that it had made ${size(pages)} at ${address(page)} private, and did nothing`)
          return 'done'
        }),
        resolve: (page, isPrivate) => (page >= first && page < end ? 'refused' : honest.resolve(page, isPrivate)),
        smash: (page) => (page >= first && page < end ? 'refused' : honest.smash(page)),
      }),
    }
  },
}
