import { describe, expect, it } from 'vitest'
import { isSkeleton, workspacePackages } from '@cofferdam/tool-workspace'
import { checkReadme, examplesOf, expectedOutput, fill, markers, runExample, shows } from '../src/index.ts'

describe('a README', () => {
  const file = 'examples/a.ts'
  const readme = `Before\n\n<!-- example: ${file} -->\n\`\`\`ts\nold()\n\`\`\`\n\n<!-- output: ${file} -->\n\nAfter\n`

  it('has its blocks found, filled or not', () => {
    expect(markers(readme)).toEqual([
      { kind: 'example', file: 'examples/a.ts', content: 'old()\n' },
      { kind: 'output', file: 'examples/a.ts', content: undefined },
    ])
  })

  it('is filled once: what is filled stays as it is', () => {
    const contentOf = ({ kind }: { kind: string }): string => kind === 'example' ? 'now()\n' : '42\n'
    const filled = fill(readme, contentOf)
    expect(filled).toContain('```ts\nnow()\n```\n\n<!-- output: examples/a.ts -->\n```text\n42\n```\n\nAfter')
    expect(fill(filled, contentOf)).toBe(filled)
    expect(markers(filled).map(({ content }) => content)).toEqual(['now()\n', '42\n'])
  })

  it('may show an example that holds a fence itself', () => {
    const text = 'const fence = `\n```\n`\n'
    expect(markers(fill(readme, () => text))[0]?.content).toBe(text)
  })

  it('shows an example without a marker where a block has exactly its text', () => {
    expect(shows('```ts\na()\n```\n', 'a()\n')).toBe(true)
    expect(shows('```ts\na()\nb()\n```\n', 'a()\n')).toBe(false)
  })
})

const packages = workspacePackages().filter((one) => one.kind !== 'tools' && !isSkeleton(one))

describe('the READMEs', () => {
  for (const one of packages) {
    it(`${one.path} shows its examples as they are`, () => {
      expect(checkReadme(one)).toEqual([])
    })
  }
})

describe('the examples', () => {
  for (const one of packages) {
    for (const file of examplesOf(one)) {
      it(`${one.path}/${file} runs, and prints what the README says`, { timeout: 130_000 }, async () => {
        const { code, stdout, stderr } = await runExample(one, file)
        expect(code, stderr).toBe(0)
        expect(stdout).toBe(expectedOutput(one, file) ?? stdout)
      })
    }
  }
})
