import { InvalidArgumentError } from 'commander'
import { describe, expect, it } from 'vitest'
import { createHostileWatch, hostileLines, parseHostile } from '../src/hostile.ts'
import { debianMissing, runReal } from './real.ts'
import { describeUnless } from './unless.ts'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

describe('--hostile', () => {
  it('takes modes, with instructions or a text as their moment', () => {
    const once = parseHostile('unmap')
    expect(parseHostile('flip@shell ready', parseHostile('remap@12000', once))).toEqual([
      { mode: 'unmap' }, { mode: 'remap', at: 12000 }, { mode: 'flip', at: 'shell ready' },
    ])
    for (const wrong of ['tickle', '', 'unmap@', `unmap@${'x'.repeat(81)}`, 'constructor']) {
      expect(() => parseHostile(wrong), wrong).toThrow(InvalidArgumentError)
    }
  })

  it('is refused without a host', async () => {
    const { code, err } = await runReal(['--hostile', 'flip'])
    expect([code, err]).toEqual([2, expect.stringMatching(/--hostile: works with an SNP guest; add --cc snp/)])
  })
})

describe('the sentence about an attack', () => {
  const deed = { mode: 'unmap', did: 'took a page away', instructions: 5 } as const
  it('says what the host did, and what the guest noticed', () => {
    const nothing = { unvalidated: 0, failure: undefined, noticed: undefined }
    expect(hostileLines({ deeds: [deed], ...nothing })).toEqual([
      'hostile host (unmap): it took a page away, after 5 instructions; the guest ran on; it said nothing of it',
    ])
    const failure = {
      kind: 'guest', how: 'crash', why: 'a page state change failed', lastLines: [], places: [],
    } as const
    expect(hostileLines({ deeds: [deed], unvalidated: 2, failure, noticed: 'SEV: no' })).toEqual([
      'hostile host (unmap): it took a page away, after 5 instructions; the guest ended: a page state change failed; '
      + '#VC told it 2 times of a page that is not validated; it said "SEV: no"',
    ])
    expect(hostileLines({ deeds: [{ ...deed, did: null }], ...nothing })[0]).toMatch(/did nothing/)
    expect(hostileLines({ deeds: [], ...nothing })).toEqual([])
  })

  it('quotes the first line that the guest said of it, after the attack had begun', () => {
    let begun = false
    const watch = createHostileWatch(() => begun)
    watch.see(bytes('[ 1.0] SEV: Disabling one\n'))
    expect(watch.noticed()).toBeUndefined()
    begun = true
    watch.see(bytes('[ 2.0] all is well\r\n[ 3.0] \x1b[31mKernel pa'))
    expect(watch.noticed()).toBeUndefined()
    watch.see(bytes('nic - not syncing: x\r\n[ 4.0] Oops\n'))
    expect(watch.noticed()).toBe('[ 3.0] Kernel panic - not syncing: x')
  })
})

describeUnless(debianMissing, 'Linux under a hostile host', () => {
  it('refuses an old answer of the firmware, and the firmware its old request', { timeout: 300_000 }, async () => {
    const { code, out, err } = await runReal([
      '--cc', 'snp', '--kernel', 'sid-cloud', '--memory', '512M', '--append', 'quiet cryptomgr.notests=1',
      '--hostile', 'replay-request', '--hostile', 'replay-response',
      '--run', 'sev-report a >/dev/null && echo first; sev-report b >/dev/null || echo refused; dmesg | grep "SEV: D"',
    ])
    expect(code, err).toBe(0)
    expect(out).toMatch(/^first\r?$[^]*^refused\r?$/m)
    expect(out).toMatch(/Detected unexpected decode failure from ASP. rc: -74/)
    expect(out).toMatch(/Disabling VMPCK0 communication key to prevent IV reuse/)
    expect(err)
      .toMatch(/\(replay-request\): it gave the firmware an earlier guest request again, which answered INVALID_PARAM/)
    expect(err).toMatch(/\(replay-response\): it answered a guest request with the answer to an earlier one.*the guest ran on; it said "\[.*SEV: Detected/)
  })
})
