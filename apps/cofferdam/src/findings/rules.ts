import type { Rule } from '@cofferdam/findings'
import { SEV_RULES } from '@cofferdam/sev'

/** Every rule that guests are held to. */
export const RULES: readonly Rule[] = SEV_RULES
