/** The command line, in the process that it was started in. */
import { ExitCode, plainReason } from './errors.ts'
import { createMachine } from './machine.ts'
import { runCli } from './program.ts'
import { processSurroundings } from './surroundings.ts'

/** Runs the command that the process was started with, and sets its exit code. */
export async function start(): Promise<void> {
  hearReaders()
  const exitCode = await runCli(process.argv.slice(2), processSurroundings(createMachine))
  // A signal must end the process even when a reader never takes what was written.
  if (exitCode > 128) process.exit(exitCode)
  process.exitCode = exitCode
}

/** A reader that goes away (`cofferdam rules | head`) is nobody's error. A session has a listener too: it ends. */
function hearReaders(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') return
      if (stream === process.stdout) process.stderr.write(`cofferdam: standard output: ${plainReason(error)}\n`)
      process.exit(ExitCode.usage)
    })
  }
}
