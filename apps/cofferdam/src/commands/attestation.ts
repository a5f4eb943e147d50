import { InvalidArgumentError, Option, type Command } from 'commander'
import * as parse from '../parse.ts'
import type { Surroundings } from '../surroundings.ts'
import { certs, type CertsOptions } from './certs.ts'
import { verify, type VerifyOptions } from './verify.ts'

const certsExamples = `
Examples:
  cofferdam certs ./certs --seed 7
      the root (ark.pem), the key that it signed (ask.pem) and the chip's key (vcek.pem) of machines with that seed
`

const verifyExamples = `
A report comes as its bytes, in hexadecimal or base64, or in the output of sev-report in the default initramfs.

Examples:
  cofferdam boot --cc snp --run 'sev-report nonce' >console.txt
  cofferdam certs ./certs
  cofferdam verify console.txt --certs ./certs --report-data 6e6f6e6365

Exit codes: 0 the report is accepted; 1 it is not, and why; 2 usage or bad input.
`

/** Hexadecimal text of at most so many bytes. */
const hexOption = (flags: string, description: string, most: number): Option =>
  new Option(flags, description).argParser((text: string) => {
    if (/^(?:[\da-f]{2})+$/i.test(text) && text.length <= 2 * most) return text
    throw new InvalidArgumentError(`expected at most ${most} bytes in hexadecimal`)
  })

/** The commands of those who rely on a guest's report. */
export const addAttestation = (program: Command, around: Surroundings, onExit: (code: number) => void): void => {
  program
    .command('certs')
    .description("Writes the certificates that vouch for the attestation reports of a machine's guests.")
    .argument('<FOLDER>')
    .option('--seed <N>', "the machine's --seed", parse.parseSeed, 1)
    .addHelpText('after', certsExamples)
    .allowExcessArguments(false)
    .action((folder: string, options: CertsOptions) => { certs(folder, options) })
  program
    .command('verify')
    .description('Verifies an SEV-SNP attestation report, and prints what it says.')
    .argument('<REPORT>')
    .requiredOption('--certs <FOLDER>', 'where ark, ask and vcek (or asvk and vlek) are, .pem or .der', parse.parseText)
    .addOption(hexOption('--measurement <HEX>', 'the launch digest that is expected', 48))
    .addOption(hexOption('--report-data <HEX>', 'the report data that are expected; zeroes follow', 64))
    .addHelpText('after', verifyExamples)
    .allowExcessArguments(false)
    .action(async (path: string, options: VerifyOptions) => { onExit(await verify(path, options, around)) })
}
