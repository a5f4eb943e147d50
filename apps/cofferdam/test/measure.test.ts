import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { flatSegments, VMSA_GPA, vmsaOf, writeIgvm } from '@cofferdam/boot'
import { afterAll, describe, expect, it } from 'vitest'
import { openStore } from '../src/images/store.ts'
import { runCli } from '../src/program.ts'
import { createFakeMachine, shellBoot } from './fake-machine.ts'
import { collectOutput, pipeInput } from './streams.ts'

const folder = mkdtempSync(join(tmpdir(), 'cofferdam-measure-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

// An image without tables: one processor can start from it.
const firmware = join(folder, 'fw.fd')
writeFileSync(firmware, new Uint8Array(8192).map((_, i) => i & 0xff))
const kernel = join(folder, 'bzImage')
writeFileSync(kernel, 'a kernel')

const run = async (...args: readonly string[]) => {
  const out = collectOutput()
  const err = collectOutput()
  const code = await runCli(['measure', ...args], {
    stdin: pipeInput(''), stdout: out.stream, stderr: err.stream, store: openStore(join(folder, 'images')),
    createMachine: createFakeMachine({ boot: shellBoot }), now: () => performance.now(),
  })
  return { code, out: out.text(), err: err.text() }
}

describe('cofferdam measure', () => {
  it('prints the launch digest', async () => {
    const { code, out } = await run('--cc', 'snp', '--firmware', firmware)
    // virtee/sev-snp-measure for the same image, one processor of type EPYC-v4, features 0x1.
    expect(out).toBe(
      '03bfaeade4a8306749f2b3be841143d02cb80adf1d2a2cd064c68aedee5c43b1dd77600512d7dc84c62e98380e63a779\n',
    )
    expect(code).toBe(0)
  })
  it('prints it in base64, and for other features, processors and hypervisors', async () => {
    const digests = await Promise.all([
      run('--firmware', firmware, '--output-format', 'base64'), run('--firmware', firmware, '--features', '0x21'),
      run('--firmware', firmware, '--cpu', 'EPYC-Milan'), run('--firmware', firmware, '--vmm-type', 'ec2'),
    ])
    expect(new Set(digests.map(({ out }) => out)).size).toBe(4)
    expect(Buffer.from(digests[0].out, 'base64').length).toBe(48)
    const bySignature = await run('--firmware', firmware, '--cpu-sig', '0xa00f11')
    expect(bySignature.out).toBe(digests[2].out)
  })
  it('prints the digest of an IGVM file, which says itself what is launched', async () => {
    const page = (byte: number) => ({
      kind: 'page', gpa: 0x10_0000, length: 4096, type: 'normal', bytes: new Uint8Array(4096).fill(byte),
    }) as const
    const vmsa = vmsaOf({
      registers: {}, rip: 0n, rflags: 2n, cr0: 0n, cr3: 0n, cr4: 0n, efer: 0n, gdtr: { base: 0n, limit: 0 },
      idtr: { base: 0n, limit: 0 }, segments: flatSegments(0x10, 0x18, true),
    })
    const file = (byte: number): string => {
      const path = join(folder, `${byte}.igvm`)
      writeFileSync(path, writeIgvm({ directives: [page(byte), { kind: 'vp', gpa: VMSA_GPA, vp: 0, vmsa }] }))
      return path
    }
    const first = await run('--firmware', file(1))
    expect(first).toMatchObject({ code: 0, out: expect.stringMatching(/^[\da-f]{96}\n$/) as string })
    expect((await run('--firmware', file(2))).out).not.toBe(first.out)
    for (const [option, value] of [['--vcpus', '1'], ['--kernel', kernel], ['--vmm-type', 'qemu']]) {
      const { code, err } = await run('--firmware', file(1), option, value)
      expect([code, err]).toEqual([2, expect.stringContaining(`${option}: the IGVM file`)])
    }
    writeFileSync(join(folder, 'cut.igvm'), readFileSync(file(1)).subarray(0, -1))
    const { code, err } = await run('--firmware', join(folder, 'cut.igvm'))
    expect([code, err]).toEqual([2, expect.stringContaining('total_file_size')])
  })
  it('refuses what cannot be measured with exit code 2 and a reason', async () => {
    const refused = async (...args: readonly string[]) => {
      const { code, out, err } = await run(...args)
      expect([code, out]).toEqual([2, ''])
      return err
    }
    expect(await refused('--firmware', join(folder, 'none'))).toMatch(/no such file/)
    expect(await refused('--firmware', firmware, '--cpu', 'Z80')).toMatch(/--cpu Z80: expected one of EPYC/)
    expect(await refused('--firmware', firmware, '--vcpus', '2')).toMatch(/reset block/)
    expect(await refused('--firmware', firmware, '--kernel', kernel)).toMatch(/kernel hashes/)
    expect(await refused('--firmware', firmware, '--initrd', kernel)).toMatch(/--initrd: works with --kernel only/)
    expect(await refused('--firmware', firmware, '--features', '0x10000000000000000')).toMatch(/64 bits/)
    expect(await refused('--firmware', firmware, '--cc', 'tdx')).toMatch(/expected one of snp/)
  })
})
