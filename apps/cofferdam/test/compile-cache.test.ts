/** What a start leaves for the next one. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'

const folder = mkdtempSync(join(tmpdir(), 'cofferdam-compiled-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const start = (environment: Record<string, string>): { status: number | null, stdout: string, stderr: string } => {
  const { NODE_COMPILE_CACHE: _, NODE_DISABLE_COMPILE_CACHE: __, ...inherited } = process.env
  return spawnSync(process.execPath, [
    '--conditions=@cofferdam/source', join(import.meta.dirname, '../src/main.ts'), '--version',
  ], { encoding: 'utf8', env: { ...inherited, ...environment } })
}

it('keeps compiled code in the cache folder, or where NODE_COMPILE_CACHE says', () => {
  const [first, second] = [join(folder, 'first'), join(folder, 'second')]
  const cached = start({ XDG_CACHE_HOME: first })
  expect(readdirSync(join(first, 'cofferdam/compiled'))).not.toHaveLength(0)
  expect(start({ XDG_CACHE_HOME: first, NODE_COMPILE_CACHE: second }))
    .toMatchObject({ stdout: cached.stdout, status: 0 })
  expect(readdirSync(second)).not.toHaveLength(0)
})

it('starts where there is no place for a cache', () => {
  const file = join(folder, 'file')
  writeFileSync(file, '')
  expect(start({ XDG_CACHE_HOME: file })).toMatchObject({ status: 0, stderr: '' })
})
