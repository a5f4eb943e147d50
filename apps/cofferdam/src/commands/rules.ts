import { describeRule, OUTCOMES } from '@cofferdam/findings'
import type { Command } from 'commander'
import { usageError } from '../errors.ts'
import { RULES } from '../findings/rules.ts'
import { createPaint, type Surroundings } from '../surroundings.ts'

/** `cofferdam rules [ID]`: lists the rules, or explains one. */
export const showRules = (id: string | undefined, { stdout }: Pick<Surroundings, 'stdout'>): void => {
  const paint = createPaint(stdout)
  if (id === undefined) {
    for (const { id: name, title, outcome } of RULES) {
      const broken = paint('dim', `When broken, on real hardware: ${OUTCOMES[outcome]}.`)
      stdout.write(`${paint('bold', name)}\n  ${title}.\n  ${broken}\n`)
    }
    return
  }
  const rule = RULES.find((known) => known.id === id)
  if (rule === undefined) throw usageError(`rules ${id}: there is no such rule`, 'cofferdam rules lists them.')
  stdout.write(`${describeRule(rule).join('\n')}\n`)
}

/** Adds `rules`. */
export const addRules = (program: Command, around: Surroundings): void => {
  program
    .command('rules')
    .description('Lists the rules of the architecture that guests are held to, or explains one.')
    .argument('[ID]', 'the rule to explain, as a finding names it')
    .addHelpText('after', '\nExample:\n  cofferdam rules snp-double-validation\n')
    .allowExcessArguments(false)
    .action((id: string | undefined) => { showRules(id, around) })
}
