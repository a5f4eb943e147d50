import {
  lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createNinePServer } from '@cofferdam/ninep'
import { expect, it } from 'vitest'
import { openHostFiles } from '../../../apps/cofferdam/src/share/host-files.ts'
import { fuzzServer } from '../../../packages/ninep/test/requests.ts'

/** `FUZZ_CASES=100000 vitest run tools/fuzz/test/ninep-host.test.ts` is the long run. */
const cases = Number(process.env.FUZZ_CASES ?? 6000)

const descriptorsBelow = (folder: string): string[] => readdirSync('/proc/self/fd').filter((fd) => {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`).startsWith(folder)
  } catch {
    return false
  }
})

it.skipIf(process.platform !== 'linux')(
  'any bytes from a guest leave what lies around a writable shared folder as it was, and no descriptor behind',
  () => {
    const outer = mkdtempSync(join(tmpdir(), 'cofferdam-fuzz-'))
    try {
      const folder = join(outer, 'b', 'shared')
      mkdirSync(join(folder, 'dir'), { recursive: true })
      for (const path of ['a', 'file', 'b/a', 'b/file']) writeFileSync(join(outer, path), 'outside')
      for (const path of ['file', 'dir/a']) writeFileSync(join(folder, path), 'inside')
      symlinkSync('../..', join(folder, 'link'))
      symlinkSync(outer, join(folder, 'dir', 'dir'))
      const around = (): unknown[] => ['a', 'file', 'b/a', 'b/file'].map((path) => {
        const { mode, nlink, mtimeMs } = lstatSync(join(outer, path))
        return [path, mode, nlink, mtimeMs, readFileSync(join(outer, path), 'latin1')]
      }).concat([readdirSync(outer), readdirSync(join(outer, 'b'))])
      const before = around()
      const files = openHostFiles(folder, true)
      const server = createNinePServer({ files, limits: { fids: 64, openFiles: 16 } })
      expect(fuzzServer(server, cases, 20_261_122)).toBeUndefined()
      server.reset()
      files.close()
      expect(around()).toEqual(before)
      expect(descriptorsBelow(outer)).toEqual([])
    } finally {
      rmSync(outer, { recursive: true, force: true })
    }
  },
  600_000,
)
