import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { AttestationReport } from '@cofferdam/spec'
import { describeReport, fromPem, SevInputError, verifyReport } from '@cofferdam/sev'
import { ExitCode, inputError, plainReason, usageError } from '../errors.ts'
import { createPaint, type Surroundings } from '../surroundings.ts'
import { readInput } from './initramfs.ts'

/** Options of `cofferdam verify`. */
export interface VerifyOptions {
  /** Folder of certificates. */
  readonly certs: string
  /** What the relying party expects, hexadecimal. */
  readonly measurement?: string
  readonly reportData?: string
}

/** The lines that `sev-report` puts around a report in the guest. */
const block = /-----BEGIN SEV-SNP REPORT-----([\sA-Za-z0-9+/=]*)-----END SEV-SNP REPORT-----/

/**
 * A report in any of the forms that it comes in: the bytes themselves, a console's output with the report of
 * `sev-report` in it, hexadecimal or base64.
 */
export const findReport = (bytes: Uint8Array): Uint8Array | undefined => {
  if (bytes.length === AttestationReport.size) return bytes
  const text = new TextDecoder('latin1').decode(bytes)
  const body = (block.exec(text)?.[1] ?? text).replace(/\s/g, '')
  const isHex = /^(?:[\da-f]{2})+$/i.test(body)
  if (!isHex && !/^[A-Za-z0-9+/]+=*$/.test(body)) return undefined
  const found = new Uint8Array(Buffer.from(body, isHex ? 'hex' : 'base64'))
  return found.length === AttestationReport.size ? found : undefined
}

/** A certificate by one of its names, PEM or DER. */
const findCertificate = (folder: string, names: readonly string[]): Uint8Array => {
  const path = names.flatMap((name) => [join(folder, `${name}.pem`), join(folder, `${name}.der`)]).find(existsSync)
  if (path === undefined) throw usageError(`certs ${folder}: expected ${names.join('.pem or ')}.pem (or .der)`)
  try {
    const bytes = new Uint8Array(readFileSync(path))
    if (path.endsWith('.der')) return bytes
    const [first] = fromPem(new TextDecoder('latin1').decode(bytes), `certificate ${path}`)
    if (first === undefined) throw inputError(`certificate ${path}`, 'its text', 'a certificate in PEM')
    return first
  } catch (error) {
    if (error instanceof SevInputError) throw usageError(error.message)
    throw error instanceof Error && 'code' in error ? inputError(
      `certificate ${path}`, plainReason(error), 'a file',
    ) : error
  }
}

/** What the relying party expected and the report has not. */
const unexpected = (
  options: VerifyOptions, report: { measurement: Uint8Array, reportData: Uint8Array },
): string | undefined => {
  const expected = [
    ['measurement', options.measurement, report.measurement], ['report data', options.reportData, report.reportData],
  ] as const
  for (const [name, want, bytes] of expected) {
    const got = Buffer.from(bytes).toString('hex')
    // Report data that is shorter than its field is followed by zeroes.
    if (want !== undefined && got !== want.toLowerCase().padEnd(got.length, '0')) return `its ${name} is ${got}`
  }
  return undefined
}

/**
 * `cofferdam verify`: checks a report by its published layout and a chain of certificates, and prints what it says.
 * @returns the exit code: 0 when it is accepted, 1 when it is not
 */
export const verify = async (path: string, options: VerifyOptions, around: Surroundings): Promise<number> => {
  const report = findReport(await readInput('report', path))
  if (report === undefined) {
    throw inputError(
      `report ${path}`, 'its content',
      `${AttestationReport.size} bytes, hexadecimal, base64, or a console with a report`,
    )
  }
  const [endorsement, intermediate, root] = [['vcek', 'vlek'], ['ask', 'asvk'], ['ark']]
    .map((names) => findCertificate(options.certs, names)) as [Uint8Array, Uint8Array, Uint8Array]
  const verdict = verifyReport({ report, endorsement, intermediate, root })
  const paint = createPaint(around.stderr)
  const refuse = (why: string): number => {
    around.stderr.write(`${paint('bold', 'cofferdam:')} ${paint('red', `report ${path}: refused: ${why}`)}\n`)
    return ExitCode.findings
  }
  if (!verdict.ok) return refuse(verdict.reason)
  const flaw = unexpected(options, verdict.report)
  if (flaw !== undefined) return refuse(flaw)
  around.stdout.write(`${describeReport(verdict.report, verdict.product)}\n`)
  around.stdout.write(
    `accepted: signed by the ${verdict.signer} of a ${verdict.product} whose root is in ${options.certs}\n`
  )
  return ExitCode.ok
}
