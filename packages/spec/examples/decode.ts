// Takes a page-table entry and a page-fault error code apart by the manual's names.
import { EXCEPTIONS, PageEntry, PageFaultError } from '@cofferdam/spec'

const entry = 0x8000_0001_2345_6067n
console.log(`entry 0x${entry.toString(16)}: ${PageEntry.describe(entry)}`)
console.log(`page at 0x${(PageEntry.get(entry, 'address') << 12n).toString(16)}`)

const code = 0x8000_0007
const pf = EXCEPTIONS.find((e) => e.mnemonic === 'PF')
console.log(`#PF (vector ${pf?.vector ?? '?'}, ${pf?.kind ?? '?'}), code 0x${code.toString(16)}`)
console.log(PageFaultError.describe(code))
