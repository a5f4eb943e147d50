/** What the process returns (architecture.md, "Command line"). */
export const ExitCode = { ok: 0, findings: 1, usage: 2, guest: 3 } as const

const exitCodeOf = Symbol('cofferdam exit code')

interface CliError extends Error {
  readonly [exitCodeOf]: number
  readonly hint: string | undefined
}

const cliError = (exitCode: number, message: string, hint?: string): CliError =>
  Object.assign(new Error(message), { [exitCodeOf]: exitCode, hint })

/**
 * Bad input from the person: leaves with exit code 2.
 * @param subject - what was wrong, for example `kernel vmlinuz`
 * @param field - the part of it that was wrong
 * @param expected - what would have been right
 * @param hint - a second line that says what to do
 */
export const inputError = (subject: string, field: string, expected: string, hint?: string): Error =>
  cliError(ExitCode.usage, `${subject}: ${field}: expected ${expected}`, hint)

/** Something that can't be done as asked, in free words: leaves with exit code 2. */
export const usageError = (message: string, hint?: string): Error => cliError(ExitCode.usage, message, hint)

/** Whether an error is one of ours, meant for the person and not for a programmer. */
export const isCliError = (error: unknown): error is CliError => error instanceof Error && exitCodeOf in error

/** The exit code that an error carries; an error that is not ours is a bug of ours or of the machine's surroundings. */
export const exitCodeOfError = (error: unknown): number => (isCliError(error) ? error[exitCodeOf] : ExitCode.usage)

/** The system's error code (`ENOENT`, …) of a failed call, if it has one. */
export const systemCode = (error: unknown): string | undefined =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined

const reasons: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  EACCES: 'permission denied',
  EISDIR: 'it is a directory',
  ENOTDIR: 'a part of the path is no directory',
  ENOSPC: 'the disk is full',
  EROFS: 'the file system is read-only',
}

/** A system error in plain words, without the call's name. */
export const plainReason = (error: unknown): string =>
  reasons[systemCode(error) ?? ''] ?? (error instanceof Error ? error.message : String(error))
