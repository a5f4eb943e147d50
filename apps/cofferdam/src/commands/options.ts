/** Options that several commands have. */
import { Option } from 'commander'
import * as parse from '../parse.ts'

/** An option with a few values; the first one is the default. */
export const choice = (flags: string, description: string, values: readonly string[]): Option =>
  new Option(flags, description).choices(values).default(values[0])
export const addOption = (description: string): Option =>
  new Option('--add <HOST:GUEST>', description).argParser(parse.parseAdd)
export const withOption = (): Option =>
  new Option('--with <PROGRAM>', 'put a program of the catalog into it: kexec-tools').argParser(parse.collect)
