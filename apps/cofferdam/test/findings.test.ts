import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createFindings, type Findings } from '@cofferdam/findings'
import { SEV_RULES } from '@cofferdam/sev'
import { afterAll, describe, expect, it } from 'vitest'
import { openStore } from '../src/images/store.ts'
import { runCli } from '../src/program.ts'
import { createFakeMachine, type FakeGuest } from './fake-machine.ts'
import { collectOutput, pipeInput } from './streams.ts'

const folder = mkdtempSync(join(tmpdir(), 'cofferdam-findings-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const kernel = join(folder, 'bzImage')
writeFileSync(kernel, 'a kernel')

const [rule] = SEV_RULES

/** What a guest broke: one rule, once at each of some instructions. */
const broken = (times: number): Findings => {
  const findings = createFindings()
  for (let i = 0; i < times; i++) {
    findings.add({ rule, what: 'It was done.', gpa: 0x1000n }, {
      at: 5, vmpl: 0, rip: BigInt(i),
      scene: () => ({
        cpu: 0, vmpl: 0, cpl: 0, mode: '64-bit', rip: { address: BigInt(i), symbol: null }, linked: null, backtrace: [],
        noSymbols: 'none',
      }),
      entryAt: () => null,
    })
  }
  return findings
}

const run = async (args: readonly string[], guest: FakeGuest = { boot: [] }) => {
  const [out, err] = [collectOutput(), collectOutput()]
  const code = await runCli(args, {
    stdin: pipeInput(''), stdout: out.stream, stderr: err.stream, store: openStore(join(folder, 'images')),
    createMachine: createFakeMachine(guest), now: () => performance.now(),
  })
  return { code, out: out.text(), err: err.text() }
}
const boot = (guest: FakeGuest, ...args: readonly string[]) =>
  run(['boot', '--cc', 'snp', '--kernel', kernel, '--initrd', 'none', ...args], guest)

const off: FakeGuest = { boot: [{ reason: 'poweroff' }] }

describe('a boot with findings', () => {
  it('prints them in full, and leaves with code 1', async () => {
    const { code, err } = await boot({ ...off, findings: [broken(1)] })
    expect(code).toBe(1)
    expect(err).toContain('1 finding\n')
    expect(err).toContain(`F1 ${rule.id}: ${rule.title}\n  It was done.\n`)
  })

  it('says so when the host was hostile: what it finds may be the host\'s doing', async () => {
    const deeds = [{ mode: 'flip', did: 'flipped a bit', instructions: 5 }] as const
    expect((await boot({ ...off, findings: [broken(1)], deeds })).err)
      .toContain('1 finding\nThe host was hostile: what')
    expect((await boot({ ...off, findings: [broken(1)] })).err).not.toContain('hostile')
  })

  it('leaves with 0 without any, and with 3 when the guest crashed as well', async () => {
    expect((await boot({ ...off, findings: [broken(0)] })).code).toBe(0)
    const crash: FakeGuest = { boot: [{ reason: 'shutdown', message: 'triple fault' }], findings: [broken(1)] }
    const { code, err } = await boot(crash)
    expect(code).toBe(3)
    expect(err).toContain('1 finding\n')
  })

  it('keeps those of a machine that was reset, numbered on', async () => {
    const report = join(folder, 'reset.json')
    const guest: FakeGuest = {
      boot: [{ reason: 'reset' }], again: [{ reason: 'poweroff' }], findings: [broken(1), broken(2)],
    }
    expect((await boot(guest, '--report', report)).code).toBe(1)
    const { findings, counts } = JSON.parse(readFileSync(report, 'utf8')) as {
      findings: { id: string }[], counts: object,
    }
    expect(findings.map(({ id }) => id)).toEqual(['F1', 'F2', 'F3'])
    expect(counts).toEqual({ [rule.id]: 3 })
  })

  it('prints no more than ten, and counts them in --stats', async () => {
    const stats = join(folder, 'stats.json')
    const { err } = await boot({ ...off, findings: [broken(12)] }, '--stats', stats)
    expect(err).toContain('F10 ')
    expect(err).not.toContain('F11 ')
    expect(err).toContain('2 more; --report FILE.json has them all.')
    const { findings } = JSON.parse(readFileSync(stats, 'utf8')) as { findings: object }
    expect(findings).toEqual({ kept: 12, occurrences: 12, byRule: { [rule.id]: 12 } })
  })
})

describe('--report', () => {
  it.each([
    ['json', /"format": "cofferdam-findings"/],
    ['xml', /^<\?xml version="1.0" encoding="UTF-8"\?>\n<testsuites name="cofferdam"/],
    ['sarif', /"version": "2\.1\.0"/],
  ])('writes .%s', async (extension, text) => {
    const file = join(folder, `report.${extension}`)
    await boot({ ...off, findings: [broken(1)] }, '--report', file)
    const content = readFileSync(file, 'utf8')
    expect(content).toMatch(text)
    for (const { id } of SEV_RULES) expect(content).toContain(id)
  })

  it('refuses other names, files that cannot be written, and guests that are not confidential', async () => {
    const named = await boot(off, '--report', 'report.txt')
    expect([named.code, named.err]).toEqual([2, expect.stringContaining('.json, .xml (JUnit) or .sarif')])
    const lost = await boot(off, '--report', join(folder, 'none', 'r.json'))
    expect([lost.code, lost.err]).toEqual([2, expect.stringContaining('there is no such folder')])
    const plain = await run(['boot', '--kernel', kernel, '--report', 'r.json'])
    expect([plain.code, plain.err]).toEqual([2, expect.stringContaining('add --cc snp')])
  })
})

describe('--cpu-erratum', () => {
  it('is one that there is, of a processor with SEV-SNP, and reaches the machine', async () => {
    const plain = await run(['boot', '--kernel', kernel, '--cpu-erratum', 'coherency'])
    expect([plain.code, plain.err]).toEqual([2, expect.stringContaining('add --cc snp')])
    expect((await boot(off, '--cpu-erratum', 'fdiv')).code).toBe(2)
    let errata: readonly string[] | undefined
    await boot({ ...off, onCreate: (options) => { ({ errata } = options) } }, '--cpu-erratum', 'coherency')
    expect(errata).toEqual(['coherency'])
  })
})

describe('--symbols', () => {
  it('refuses a file without symbols', async () => {
    const { code, err } = await boot(off, '--symbols', kernel)
    expect([code, err])
      .toEqual([2, expect.stringContaining('none at kernel addresses; expected System.map or vmlinux')])
  })

  it('gives the machine those of a System.map', async () => {
    const map = join(folder, 'System.map')
    writeFileSync(map, 'ffffffff81000000 T _text\n')
    let count = 0
    await boot({ ...off, onCreate: ({ symbols }) => { count = symbols?.count ?? 0 } }, '--symbols', map)
    expect(count).toBe(1)
  })
})

describe('cofferdam rules', () => {
  it('lists every rule with what hardware makes of it', async () => {
    const { code, out } = await run(['rules'])
    expect(code).toBe(0)
    for (const { id, title } of SEV_RULES) {
      expect(out).toContain(`${id}\n  ${title}.\n  When broken, on real hardware: `)
    }
  })

  it('explains one: why, what hardware does, what to look at, who says so', async () => {
    const { out } = await run(['rules', 'snp-double-validation'])
    expect(out)
      .toMatch(/^snp-double-validation: .*On real hardware: nothing, by luck\. .*What to look at: .*APM vol\. 3/s)
  })

  it('says so when there is none of that name', async () => {
    const { code, err } = await run(['rules', 'snp-nothing'])
    expect([code, err]).toEqual([2, expect.stringContaining('there is no such rule')])
  })
})
