import { ATTACKS, type HostileMode } from '@cofferdam/machine'
import { InvalidArgumentError, Option } from 'commander'
import { plain } from './run/console-watch.ts'
import type { HostileDeed, HostileOption } from './machine-port.ts'
import type { GuestFailure } from './run/session.ts'

const modes = Object.keys(ATTACKS) as HostileMode[]

/** `MODE[@WHEN]`, repeated: WHEN is a number of instructions, or a text on the console. */
export const parseHostile = (text: string, before: readonly HostileOption[] = []): HostileOption[] => {
  const at = text.indexOf('@')
  const [name, when] = at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)]
  const mode = modes.find((known) => known === name)
  if (mode === undefined) throw new InvalidArgumentError(`expected one of ${modes.join(', ')}`)
  if (when === undefined) return [...before, { mode }]
  if (when === '' || when.length > 80) {
    throw new InvalidArgumentError('expected instructions or a text of at most 80 letters after @')
  }
  return [...before, { mode, at: /^\d{1,15}$/.test(when) ? Number(when) : when }]
}

/** The option. */
export const hostileOption = new Option(
  '--hostile <MODE[@WHEN]>', 'a host that attacks its SNP guest (see below); may be repeated',
).argParser(parseHostile)

const width = Math.max(...modes.map(({ length }) => length))

/** The modes, for the help. */
export const hostileHelp = `
Modes of --hostile; WHEN is a number of the guest's instructions or a text on its console, otherwise the seed decides:
${modes.map((mode) => `  ${mode.padEnd(width)}  ${ATTACKS[mode].about}`).join('\n')}
`

/** Lines by which kernels tell of a host that broke the rules, or of what came of it. */
const sign = new RegExp([
  'SEV: .*(Detected|Disabling|error)', '#VC exception', 'Unsupported exit', 'Wrong/unhandled opcode', 'PSC failed',
  'PVALIDATE|Failed to validate', 'No irq handler', 'spurious', 'general protection', 'Oops', 'BUG:', 'Kernel panic',
  'invalid opcode', 'unable to handle', 'segfault', 'traps:',
].join('|'))

/** Watches the console for what the guest says of an attack. */
export interface HostileWatch {
  see(bytes: Uint8Array): void
  /** The first such line; undefined when there was none. */
  noticed(): string | undefined
}

/** @param begun whether the host has done something already: lines before that are about something else */
export const createHostileWatch = (begun: () => boolean): HostileWatch => {
  const decoder = new TextDecoder()
  let line = ''
  let found: string | undefined
  return {
    see(bytes) {
      if (found !== undefined) return
      const lines = (line + decoder.decode(bytes, { stream: true })).split('\n')
      // A guest that never ends its line must not grow our memory.
      line = (lines.pop() ?? '').slice(-4096)
      for (const text of lines) {
        if (sign.test(text) && begun()) found ??= plain(text).trim()
      }
    },
    noticed: () => found,
  }
}

/** What hostile hosts did, and what is known of what came of it. */
export interface HostileStory {
  readonly deeds: readonly HostileDeed[]
  /** Accesses that the processor stopped because their page was not validated. */
  readonly unvalidated: number
  readonly failure: GuestFailure | undefined
  readonly noticed: string | undefined
}

/** One sentence for each attack: what the host did, and what the guest noticed. */
export const hostileLines = ({ deeds, unvalidated, failure, noticed }: HostileStory): string[] => {
  const came = [
    failure === undefined ? 'the guest ran on' : `the guest ended: ${failure.why}`,
    ...(unvalidated > 0 ? [`#VC told it ${unvalidated} times of a page that is not validated`] : []),
    ...(noticed === undefined ? [] : [`it said "${noticed}"`]),
    ...(failure === undefined && unvalidated === 0 && noticed === undefined ? ['it said nothing of it'] : []),
  ].join('; ')
  return deeds.map(({ mode, did, instructions }) => (did === null
    ? `hostile host (${mode}): did nothing; its moment did not come`
    : `hostile host (${mode}): it ${did}, after ${instructions} instructions; ${came}`))
}
