// The processor models: what they call themselves, and how much they claim.
import { configureModel, createCpuidLeaves, createMsrTable, epycGenoa, sapphireRapids } from '@cofferdam/x86'

for (const model of [epycGenoa, sapphireRapids].map((one) => configureModel(one))) {
  console.log(`${model.name}: "${model.brand}"`)
  console.log(
    `  ${model.features.size} features, ${createMsrTable(model).size} MSRs, ${model.physicalBits} address bits`
  )
  console.log(`  ${createCpuidLeaves(model).size} CPUID leaves; AVX2: ${model.features.has('avx2')}`)
}
