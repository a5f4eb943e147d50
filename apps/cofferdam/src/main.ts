#!/usr/bin/env node
import { setFlagsFromString } from 'node:v8'
import { createMachine } from './machine.ts'
import { ExitCode, plainReason } from './errors.ts'
import { runCli } from './program.ts'
import { processSurroundings } from './surroundings.ts'

// What V8 holds for new objects stays as small as it is now. It would grow by tens of megabytes beside the guest's memory
// and win little time: what a machine makes anew is decoded code, which lives long (npm run bench: peak memory 1.46 to
// 1.36 times QEMU's, the boot 2 % slower).
setFlagsFromString('--semi-space-growth-factor=1')

// A reader that goes away (`cofferdam rules | head`) is no error of anyone's. A session has its own listener too: it ends.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') return
    if (stream === process.stdout) process.stderr.write(`cofferdam: standard output: ${plainReason(error)}\n`)
    process.exit(ExitCode.usage)
  })
}

const exitCode = await runCli(process.argv.slice(2), processSurroundings(createMachine))
// A signal must end the process even when a reader never takes what was written.
if (exitCode > 128) process.exit(exitCode)
process.exitCode = exitCode
