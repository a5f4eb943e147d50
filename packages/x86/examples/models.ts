/** Shows the processor models and their MSRs. Run: `node --conditions=@cofferdam/source examples/models.ts` */
import { createMsrTable, epycGenoa, sapphireRapids } from '@cofferdam/x86'

for (const model of [epycGenoa, sapphireRapids]) {
  const msrs = [...createMsrTable(model).values()]
  console.log(`${model.name}: "${model.brand}", ${String(model.features.size)} features, ${String(msrs.length)} MSRs`)
  for (const msr of msrs.filter(({ name }) => !/X2APIC|MTRR|MC\d/.test(name))) {
    console.log(`  ${msr.index.toString(16).padStart(8)}  ${msr.name}`)
  }
}
