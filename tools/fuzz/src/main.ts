/**
 * `npm run fuzz -- COMMAND [OPTIONS]`; README.md lists the commands.
 * Exit codes: 0 nothing differs, 1 something does, 2 the options are wrong or there is no processor to compare with.
 */
import { runCpu } from './commands/cpu.ts'
import { runDecode } from './commands/decode.ts'
import { runSurvive } from './commands/survive.ts'
import { runTable } from './commands/table.ts'
import { UsageError } from './options.ts'

type Command = (args: string[]) => number | Promise<number>
const commands: Readonly<Record<string, Command>> = {
  cpu: runCpu, decode: runDecode, survive: runSurvive, table: runTable,
}

async function main([name = 'cpu', ...args]: string[]): Promise<number> {
  const first = name.startsWith('-') ? 'cpu' : name
  const command = commands[first] as Command | undefined
  if (command === undefined) throw new UsageError(`${first} is none of ${Object.keys(commands).join(', ')}`)
  return command(name.startsWith('-') ? [name, ...args] : args)
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  if (!(error instanceof UsageError)) throw error
  console.error(`fuzz: ${error.message}`)
  process.exitCode = 2
}
