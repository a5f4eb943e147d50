import type { Rule } from '@cofferdam/findings'
import { SEV_RULES } from '@cofferdam/sev'
import { SVSM_RULES } from '@cofferdam/svsm'

/** Every rule that guests are held to. */
export const RULES: readonly Rule[] = [...SEV_RULES, ...SVSM_RULES]
