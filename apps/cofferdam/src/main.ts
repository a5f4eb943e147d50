#!/usr/bin/env node
import { createMachine } from './machine.ts'
import { runCli } from './program.ts'
import { processSurroundings } from './surroundings.ts'

const exitCode = await runCli(process.argv.slice(2), processSurroundings(createMachine))
// A signal must end the process even when a reader never takes what was written.
if (exitCode > 128) process.exit(exitCode)
process.exitCode = exitCode
