import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createFindings, jsonReport, junitReport, REPORT_FORMAT, REPORT_VERSION, sarifReport } from '../src/index.ts'
import type { Finding, ReportInput } from '../src/index.ts'
import { occurrence, rule, violation } from './fixtures.ts'

const kept = { ...rule, id: 'snp-kept-rule', title: 'This one was kept' }

function findings(what?: string): readonly Finding[] {
  const all = createFindings()
  all.add(
    { ...violation(0x1000n, what), gva: 0xffff_8000_0000_1000n, spa: 0x7000n }, occurrence(10, 0xffff_ffff_9100_0001n),
  )
  all.add(violation(0x2000n, what), occurrence(20, 0xffff_ffff_9100_0001n))
  return all.list()
}

const input = (found = findings(), kernel = 'my kernel'): ReportInput => ({
  tool: { name: 'cofferdam', version: '1.2.3' },
  run: {
    kernel, commandLine: 'console=ttyS0 "quoted" <&>', seed: 1, vcpus: 2, memoryBytes: 2 ** 31, outcome: 'poweroff',
  },
  rules: [kept, rule], findings: found, counts: { 'snp-test-rule': 2 }, dropped: 0,
})

describe('the JSON report', () => {
  it('names its format and version, and has every piece of evidence, addresses as texts', () => {
    expect(JSON.parse(jsonReport(input()))).toMatchObject({
      format: REPORT_FORMAT, version: REPORT_VERSION, tool: { name: 'cofferdam' }, counts: { 'snp-test-rule': 2 },
      dropped: 0,
      rules: [{ id: 'snp-kept-rule' }, { id: 'snp-test-rule', outcome: 'hang' }],
      findings: [{
        id: 'F1', rule: 'snp-test-rule', outcome: 'hang', what: 'It was done.', count: 2, firstNs: 10, lastNs: 20,
        cpu: 1, vmpl: 0,
        cpl: 0, mode: '64-bit', rip: '0xffffffff91000001', symbol: 'f+0x1/0x2', linkedRip: '0xffffffff81000001',
        noSymbols: null,
        backtrace: [
          { address: '0x10', symbol: null, certain: false }, { address: '0x20', symbol: 'g+0x0/0x8', certain: true },
        ],
        gva: '0xffff800000001000', gpa: '0x1000', spa: '0x7000', otherGpas: ['0x2000'],
        entry: { table: 'RMP', words: ['0x7000', '0x1'], text: 'guest-valid' },
      }],
    })
  })
})

describe('the JUnit report', () => {
  it('has a test case for each rule, which fails where it was broken', () => {
    const xml = junitReport(input())
    expect(xml).toContain('<testsuites name="cofferdam" tests="2" failures="1" errors="0" time="0">')
    expect(xml).toContain('<testcase name="This one was kept" classname="cofferdam.snp-kept-rule" time="0"/>')
    expect(xml).toMatch(/<testcase name="Nobody does &lt;this&gt; &amp; that"[^>]*>\n +<failure message="It was done\." type="snp-test-rule">F1 /)
    expect(xml).toContain('value="console=ttyS0 &quot;quoted&quot; &lt;&amp;&gt;"')
  })

  it('is well-formed whatever a text from outside holds', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => {
      const xml = junitReport(input(findings(text), text))
      expect(xml).not.toMatch(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]|&(?!amp;|lt;|gt;|quot;|#\d+;)/)
      const depth = [...xml.replace(/^<\?.*\?>/, '').matchAll(/<(\/?)[a-z]+(?: [a-zA-Z]+="[^"<]*")*(\/?)>|[<>]/g)].reduce((level, [all, close, empty]) => {
        expect(all.length).toBeGreaterThan(1)
        return level + (close === '/' ? -1 : empty === '/' ? 0 : 1)
      }, 0)
      expect(depth).toBe(0)
    }))
  })
})

describe('the SARIF report', () => {
  interface Sarif {
    version: string
    runs: {
      tool: { driver: { name: string, rules: { id: string, shortDescription: { text: string } }[] } }
      results: {
        ruleId: string, ruleIndex: number, level: string, message: { text: string }, occurrenceCount: number
        locations: {
          physicalLocation: { artifactLocation: { uri: string } }, logicalLocations: { fullyQualifiedName: string }[],
        }[]
        stacks: { frames: object[] }[]
        partialFingerprints: Record<string, string>
      }[]
    }[]
  }
  const parsed = (i = input()): Sarif => JSON.parse(sarifReport(i)) as Sarif

  it('is version 2.1.0, with all rules and a result that points at its own', () => {
    const { version, runs: [run] } = parsed()
    expect(version).toBe('2.1.0')
    expect(run.tool.driver.rules.map(({ id }) => id)).toEqual(['snp-kept-rule', 'snp-test-rule'])
    const [result, ...others] = run.results
    expect(others).toEqual([])
    expect(result).toMatchObject({
      ruleId: 'snp-test-rule', ruleIndex: 1, level: 'error', message: { text: 'It was done.' }, occurrenceCount: 2,
    })
    expect(result.locations[0].logicalLocations[0].fullyQualifiedName).toBe('f+0x1/0x2')
    expect(result.stacks[0].frames).toHaveLength(2)
  })

  it('has the same fingerprint wherever the kernel was moved, and a valid URI for any name', () => {
    const { runs: [{ results: [result] }] } = parsed(input(findings(), 'a b?#<é'))
    expect(result.partialFingerprints).toEqual({ 'ruleAndPlace/v1': 'snp-test-rule VMPL0 ffffffff81000001' })
    expect(result.locations[0].physicalLocation.artifactLocation.uri).toBe('a%20b%3F%23%3C%C3%A9')
  })

  it('has no results, and all rules, when nothing was broken', () => {
    const { runs: [run] } = parsed(input([]))
    expect(run.results).toEqual([])
    expect(run.tool.driver.rules).toHaveLength(2)
  })
})
