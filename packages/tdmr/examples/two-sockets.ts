// A two-socket server with 1 TiB: TDMRs over all of it, PAMTs on their own nodes, the module initialised.
import {
  createModelMemory, createModuleModel, describeInitError, formatTdmrs, initTdx, type MemoryRegion,
} from '@cofferdam/tdmr'

const MiB = 2 ** 20
const GiB = 2 ** 30

// System memory as the host knows it: a hole below 4 GiB, one more where socket 1's firmware keeps its tables.
const memory: MemoryRegion[] = [
  { start: 0, end: 0xa0000, node: 0 },
  { start: MiB, end: 2 * GiB, node: 0 },
  { start: 4 * GiB, end: 514 * GiB, node: 0 },
  { start: 514 * GiB, end: 700 * GiB, node: 1 },
  { start: 700 * GiB + 64 * MiB, end: 1026 * GiB, node: 1 },
]
const lps = Array.from({ length: 128 }, (_, id) => ({ id, package: id >> 6, online: true }))
const keyIds = { first: 64, count: 64 }
// PAMTs come from this allocator; a host gives it the page allocator's contiguous runs instead.
const host = createModelMemory(memory, [{ start: 16 * MiB, end: 80 * MiB }])
// A model of the module answers SEAMCALLs; on a machine, a processor in VMX operation does.
const tdxModule = createModuleModel({
  lps, keyIds, memory: host,
  cmrs: memory.slice(1).map((r) => ({ base: r.start, size: r.end - r.start })),
  limits: { maxTdmrs: 64, maxReservedPerTdmr: 16, entrySize: { size4k: 16, size2m: 16, size1g: 16 } },
  dynamicPamtBits: 1,
})

const result = initTdx({ lps, keyIds, memory, host }, tdxModule)
if (!result.ok) throw new Error(describeInitError(result.error))
const { tdx } = result
const { version } = tdx.info
console.log(`TDX module ${version.major}.${version.minor}.${version.update}, ${tdxModule.state()}, ` +
  `${tdxModule.log.length} requests, ${tdx.guestKeyIds.count} KeyIDs for guests`)
console.log(formatTdmrs(tdx.plan))
for (const t of tdx.plan.tdmrs) {
  const areas = t.reserved.map((r) => `[0x${r.start.toString(16)}, 0x${r.end.toString(16)})`)
  console.log(`reserved in TDMR at 0x${t.start.toString(16)}: ${areas.join(' ')}`)
}

// Once in a module's lifetime: a second initialisation is refused, and the reason is said.
const again = initTdx({ lps, keyIds, memory, host }, tdxModule)
if (!again.ok) console.log(`again: ${describeInitError(again.error)}`)

// What a kexec must flush before another kernel runs: these processors' caches, over these ranges.
console.log(`kexec: WBINVD on ${tdx.incoherent().length} LPs; ` +
  tdx.kexecRanges().map((r) => `${r.why} 0x${r.start.toString(16)}..0x${r.end.toString(16)}`).join(', '))
