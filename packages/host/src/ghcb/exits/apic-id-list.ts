import { GhcbError } from '@cofferdam/spec'
import type { GhcbReply } from '../page.ts'
import type { GhcbServer, Malformed } from '../types.ts'

const PAGE = 4096

/**
 * APIC_ID_LIST (8000_0017h): the number of processors and their APIC ids, 32 bits each, to RAX shared pages at
 * EXITINFO1 (56421 §4.1). When they are too few, RAX says how many it takes and nothing else is done.
 */
export const apicIdListExit: GhcbServer = {
  name: 'apic-id-list',
  serve({ info1, page }, { memory, apicIds }): GhcbReply | Malformed {
    const list = new Uint8Array(Uint32Array.of(apicIds.length, ...apicIds).buffer)
    const needed = BigInt(Math.ceil(list.length / PAGE))
    if (page.peek('rax') < needed) return { registers: { rax: needed } }
    if ((info1 & 0xfffn) !== 0n || info1 >= 1n << 52n || !memory.write(Number(info1), list)) {
      return { error: GhcbError.INVALID_INPUT }
    }
    return { registers: { rax: needed } }
  },
}
