import { Command, CommanderError } from 'commander'
import { addAttestation } from './commands/attestation.ts'
import { addBoot } from './commands/boot-command.ts'
import { addImages } from './commands/images.ts'
import { addMeasure } from './commands/measure.ts'
import { addRules } from './commands/rules.ts'
import { exitCodeOfError, isCliError } from './errors.ts'
import { createPaint, type Surroundings } from './surroundings.ts'
import { ownVersion } from './version.ts'

/** Commander's message in our form: `--memory 12: expected …`. */
const ownMessage = (text: string): string =>
  text
    .replace(/^error: /, '')
    .replace(/^option '(--[\w-]+)[^']*' argument '([\s\S]*)' is invalid\. /, '$1 $2: ')
    .replace(/: Allowed choices are (.*)\.$/m, ': expected one of $1')

/** Builds the whole command line. */
export const createProgram = (around: Surroundings, onExit: (code: number) => void): Command => {
  const paint = createPaint(around.stderr)
  const program = new Command('cofferdam')
    .description('Boots unmodified 64-bit kernels on a PC written in TypeScript.')
    .version(ownVersion(), '-V, --version', 'show the version')
    .helpOption('-h, --help', 'show this')
    .helpCommand(false)
    .showHelpAfterError('Run with --help for the options and examples.')
    .configureOutput({
      writeOut: (text) => around.stdout.write(text),
      writeErr: (text) => around.stderr.write(text),
      outputError: (text, write) => write(`${paint('bold', 'cofferdam:')} ${ownMessage(text)}`),
    })
    .exitOverride()
  program.addHelpText('after', '\nStart with: cofferdam boot\n')
  addBoot(program, around, onExit)
  addImages(program, around)
  addMeasure(program, around)
  addRules(program, around)
  addAttestation(program, around, onExit)
  return program
}

const printError = (error: unknown, { stderr }: Surroundings): void => {
  const paint = createPaint(stderr)
  const message = error instanceof Error ? error.message : String(error)
  stderr.write(`${paint('bold', 'cofferdam:')} ${message}\n`)
  if (isCliError(error) && error.hint !== undefined) stderr.write(`${error.hint}\n`)
  if (process.env.COFFERDAM_DEBUG && error instanceof Error) stderr.write(`${error.stack ?? ''}\n`)
  else if (!isCliError(error)) stderr.write('This is a bug of cofferdam; COFFERDAM_DEBUG=1 shows where.\n')
}

/**
 * Runs the command line.
 * @param args - without the program's name
 * @returns the exit code
 */
export const runCli = async (args: readonly string[], around: Surroundings): Promise<number> => {
  let exitCode = 0
  const program = createProgram(around, (code) => {
    exitCode = code
  })
  try {
    await program.parseAsync(args, { from: 'user' })
    return exitCode
  } catch (error) {
    // commander has already said what was wrong; showing help is no error
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    printError(error, around)
    return exitCodeOfError(error)
  }
}
