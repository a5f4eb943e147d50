import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { snpEndorsement } from '@cofferdam/machine'
import {
  createSevIdentity, DEFAULT_FACTS, ecdsaSign, encodeTcb, fromPem, parseCertificateTable,
} from '@cofferdam/sev'
import { AttestationReport, CertGuid, REPORT_SIGNED_BYTES } from '@cofferdam/spec'
import { afterAll, describe, expect, it } from 'vitest'
import { openStore } from '../src/images/store.ts'
import { runCli } from '../src/program.ts'
import { createFakeMachine, shellBoot } from './fake-machine.ts'
import { debianMissing } from './real.ts'
import { sevGuestProgram } from './sev-guest.ts'
import { collectOutput, pipeInput } from './streams.ts'
import { describeUnless } from './unless.ts'

const folder = mkdtempSync(join(tmpdir(), 'cofferdam-attestation-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const file = (name: string, content: Uint8Array | string): string => {
  writeFileSync(join(folder, name), content, { mode: 0o755 })
  return join(folder, name)
}

const run = async (...args: readonly string[]) => {
  const [out, err] = [collectOutput(), collectOutput()]
  const code = await runCli(args, {
    stdin: pipeInput(''), stdout: out.stream, stderr: err.stream, store: openStore(join(folder, 'images')),
    createMachine: createFakeMachine({ boot: shellBoot }), now: () => performance.now(),
  })
  return { code, out: out.text(), err: err.text() }
}

const certs = join(folder, 'certs')
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

/** A report of the chip in machines with seed 1, as its firmware would sign it. */
const report = (() => {
  const chip = createSevIdentity(Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0), 'Genoa')
  const tcb = encodeTcb('Genoa', DEFAULT_FACTS.tcb)
  const bytes = AttestationReport.create({
    version: 2, policy: 0x3_0000n, signatureAlgorithm: 1, reportedTcb: tcb, chipId: chip.chipId,
    measurement: Uint8Array.from({ length: 48 }, (_, i) => i), reportData: new TextEncoder().encode('nonce'),
  })
  const signature = ecdsaSign(chip.vcek(tcb).privateKey, bytes.subarray(0, REPORT_SIGNED_BYTES))
  bytes.set(signature, AttestationReport.offset.signature)
  return bytes
})()

describe('cofferdam certs', () => {
  it('writes the chain of the machine with that seed, under the names that verifiers know', async () => {
    expect(await run('certs', certs)).toEqual({ code: 0, out: '', err: '' })
    const pem = (name: string): string[] => fromPem(readFileSync(join(certs, name), 'utf8')).map(hex)
    const { ark, ask, vcek } = snpEndorsement(1)
    expect([pem('ark.pem'), pem('ask.pem'), pem('vcek.pem')]).toEqual([[hex(ark)], [hex(ask)], [hex(vcek)]])
    expect(pem('cert_chain.pem')).toEqual([hex(ask), hex(ark)])
    expect(hex(snpEndorsement(2).vcek)).not.toBe(hex(vcek))
  })

  it('refuses a folder that cannot be', async () => {
    const { code, err } = await run('certs', join(file('a-file', ''), 'x'))
    expect(code).toBe(2)
    expect(err).toMatch(/certs .*a-file.*: expected a folder/)
  })
})

describe('cofferdam verify', () => {
  const verify = (path: string, ...args: readonly string[]) => run('verify', path, '--certs', certs, ...args)

  it.each([
    ['the bytes', report], ['hexadecimal', hex(report)], ['base64', Buffer.from(report).toString('base64')],
    ['a console', `boot\r\n-----BEGIN SEV-SNP REPORT-----\r\n${Buffer.from(report).toString('base64').replace(/.{76}/g, '$&\r\n')}
-----END SEV-SNP REPORT-----\r\nmore\r\n`],
  ])('accepts a report as %s', async (name, content) => {
    const { code, out, err } = await verify(file(name, content))
    expect([code, err]).toEqual([0, ''])
    expect(out).toMatch(/^measurement +000102/m)
    expect(out).toMatch(/^accepted: signed by the VCEK of a Genoa/m)
  })

  it('refuses with exit code 1 a report that was changed, of another root, or that is not as expected', async () => {
    const changed = report.slice()
    changed[AttestationReport.offset.measurement] ^= 1
    const refused = async (path: string, ...args: readonly string[]): Promise<string> => {
      const { code, out, err } = await verify(path, ...args)
      expect([code, out]).toEqual([1, ''])
      return err
    }
    const good = file('good', report)
    expect(await refused(file('changed', changed)))
      .toMatch(/refused: the report's signature is not the endorsement key's/)
    expect(await refused(good, '--measurement', 'ff'.repeat(48))).toMatch(/refused: its measurement is 000102/)
    expect(await refused(good, '--report-data', '6e6f6e6366')).toMatch(/refused: its report data is 6e6f6e6365/)
    expect((await verify(good, '--report-data', '6E6F6E6365')).code).toBe(0)
    const other = join(folder, 'other')
    expect((await run('certs', other, '--seed', '2')).code).toBe(0)
    const { code, err } = await run('verify', good, '--certs', other)
    expect(code).toBe(1)
    expect(err).toMatch(/refused: the report's chip id is not the certificate's/)
  })

  it('refuses with exit code 2 what is no report, and a folder without certificates', async () => {
    const wrong = async (...args: readonly string[]): Promise<string> => {
      const { code, err } = await run('verify', ...args)
      expect(code).toBe(2)
      return err
    }
    expect(await wrong(file('short', 'abcd'), '--certs', certs)).toMatch(/report .*short.*expected 1184 bytes/)
    expect(await wrong(file('good', report), '--certs', folder)).toMatch(/expected vcek.pem or vlek.pem/)
    expect(await wrong(join(folder, 'good'), '--certs', certs, '--measurement', 'x'))
      .toMatch(/expected at most 48 bytes/)
    expect(await wrong(join(folder, 'good'))).toMatch(/--certs/)
  })
})

describeUnless(debianMissing, "an SNP guest's /dev/sev-guest", () => {
  const ask = sevGuestProgram()

  it('gives a report that is accepted, certificates with it, and keys', { timeout: 120_000 }, async () => {
    const first = await ask(1)
    // From the configfs interface, as sev-report in the initramfs uses it.
    const { code, out } = await run(
      'verify', file('console.txt', first.out), '--certs', certs, '--report-data', hex(Buffer.from('nonce')),
    )
    expect(code).toBe(0)
    expect(out).toMatch(/^VMPL +0$/m)
    // From the ioctl: a status and a size, the report, and the host's table of certificates.
    const bytes = Buffer.from(first.extended, 'hex')
    expect([bytes.readUInt32LE(0), bytes.readUInt32LE(4)]).toEqual([0, AttestationReport.size])
    const extended = file('extended.bin', bytes.subarray(32, 32 + AttestationReport.size))
    expect((await run('verify', extended, '--certs', certs)).code).toBe(0)
    const table = parseCertificateTable(new Uint8Array(bytes.subarray(0x4c0)))
    const { ark, ask: askCertificate, vcek } = snpEndorsement(1)
    expect(table.map((entry) => [entry.guid, hex(entry.bytes)])).toEqual([
      [CertGuid.VCEK, hex(vcek)], [CertGuid.ASK, hex(askCertificate)], [CertGuid.ARK, hex(ark)],
    ])

    // The first word is the status of MSG_KEY_RSP; the key follows 32 bytes of header.
    for (const answer of [first.measured, first.chip]) {
      expect(answer).toMatch(/^0{64}[0-9a-f]{64}$/)
      expect(answer).not.toMatch(/^0+$/)
    }
  })
})
