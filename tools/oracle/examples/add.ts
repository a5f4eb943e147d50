// What ADC does on this processor to a register, to the flags, and over the end of memory.
import { createBatch, createOracle, DATA_END, OUT, STATE } from '@cofferdam/oracle'

const oracle = createOracle()
if (oracle.available) {
  const batch = createBatch(2)
  batch.setCode(0, [0x48, 0x11, 0xd8]) // adc rax, rbx
  batch.u64[(batch.at(0) + STATE.GPR) / 8] = 0xffff_ffff_ffff_ffffn
  batch.u64[(batch.at(0) + STATE.RFLAGS) / 8] = 0x203n // CF
  batch.setCode(1, [0x48, 0x11, 0x03]) // adc [rbx], rax
  batch.u64[(batch.at(1) + STATE.GPR) / 8 + 3] = BigInt(DATA_END - 4)

  const answer = oracle.run(batch)
  const rax = answer.u64[(answer.at(0) + STATE.GPR) / 8]
  const flags = answer.u64[(answer.at(0) + STATE.RFLAGS) / 8]
  console.log(`rax ${rax.toString(16)}, rflags ${flags.toString(16)}`)
  const fault = answer.at(1)
  console.log(`vector ${answer.u32[(fault + OUT.VECTOR) / 4]} at ${answer.u64[(fault + OUT.CR2) / 8].toString(16)}`)
} else console.log(`no processor to ask: ${oracle.reason}`)
