/** A program of a real SNP guest that asks `/dev/sev-guest` for keys and reports. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { KeyFieldSelect } from '@cofferdam/spec'
import { afterAll, expect } from 'vitest'
import { ioctlProgram, ROOM, SNP_GET_DERIVED_KEY, SNP_GET_EXT_REPORT } from './ioctl-program.ts'
import { runReal } from './real.ts'

/** What the guest said on its console, and the answers in hexadecimal. */
export interface SevGuestAnswers {
  readonly out: string
  /** Keys of SNP_GET_DERIVED_KEY that hang on the measurement too, and on the chip alone. */
  readonly measured: string
  readonly chip: string
  /** SNP_GET_EXT_REPORT: the answer, and the certificates behind it. */
  readonly extended: string
}

/** struct snp_derived_key_req: what is mixed into a key of the chip. */
const keyRequest = (fields: bigint): Uint8Array => {
  const bytes = new Uint8Array(32)
  new DataView(bytes.buffer).setBigUint64(8, fields, true)
  return bytes
}

/** Boots guests that ask; for a test file. */
export function sevGuestProgram(): (seed: number, append?: string) => Promise<SevGuestAnswers> {
  const folder = mkdtempSync(join(tmpdir(), 'cofferdam-sev-guest-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  const file = (name: string, content: Uint8Array | string): string => {
    writeFileSync(join(folder, name), content, { mode: 0o755 })
    return join(folder, name)
  }
  const key = file('key', ioctlProgram({ request: SNP_GET_DERIVED_KEY, version: 1, response: 64 }))
  // certs_address at 96, certs_len at 104 of struct snp_ext_report_req
  const extended = file('extended', ioctlProgram({
    request: SNP_GET_EXT_REPORT, version: 1, response: 0x4c0, pointer: [96, ROOM],
  }))
  const extendedRequest = new Uint8Array(112)
  new DataView(extendedRequest.buffer).setUint32(104, 0x2000, true)
  const measured = file('measured', keyRequest(KeyFieldSelect.mask.MEASUREMENT))
  const chipOnly = file('chip-only', keyRequest(0n))

  return async (seed, append = '') => {
    const { code, out, err } = await runReal([
      '--cc', 'snp', '--kernel', 'sid-cloud', '--memory', '512M', '--seed', `${seed}`,
      '--append', `quiet cryptomgr.notests=1 ${append}`,
      ...['--add', `${key}:/bin/key`, '--add', `${extended}:/bin/extended`],
      ...['--add', `${measured}:/measured`, '--add', `${chipOnly}:/chip-only`],
      ...['--add', `${file('extended-request', extendedRequest)}:/extended-request`],
      '--run', `hex() { od -An -v -tx1 | tr -d ' \\n'; echo; }
        echo "measured $(key </measured | hex)"; echo "chip $(key </chip-only | hex)"
        echo "extended $(extended </extended-request | hex)"; sev-report nonce`,
    ])
    expect(code, err).toBe(0)
    const answer = (name: string): string => new RegExp(`^${name} ([0-9a-f]+)\\r?$`, 'm').exec(out)?.[1] ?? ''
    return { out, measured: answer('measured'), chip: answer('chip'), extended: answer('extended') }
  }
}
