import { chmodSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { findSwtpm, openSwtpm } from '../src/tpm/swtpm.ts'

/**
 * Stands in for swtpm: answers every command with its bytes, then the size of its state folder's name; dies of 0xff.
 */
const program = (node: string): string => `#!${node}
const { createServer } = require('node:net')
const { writeFileSync } = require('node:fs')
const { join } = require('node:path')
const value = (name, part) => process.argv[process.argv.indexOf(name) + 1].split(part)[1]
const state = value('--tpmstate', 'dir=')
createServer((socket) => socket.on('data', (command) => {
  if (command[6] === 0xff) process.exit(1)
  writeFileSync(join(state, 'tpm2-00.permall'), command)
  const answer = Buffer.concat([command, Buffer.from([command.length])])
  answer.writeUInt32BE(answer.length, 2)
  // In two parts, as it may come.
  socket.write(answer.subarray(0, 7))
  setTimeout(() => socket.write(answer.subarray(7)), 5)
})).listen(value('--server', 'path='))
`

const COMMAND = Uint8Array.of(0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 8)
const folder = mkdtempSync(join(tmpdir(), 'cofferdam-swtpm-test-'))
const state = join(folder, 'state')
const warnings: string[] = []
const open = (options: { state?: string } = {}) =>
  openSwtpm({ warn: (text) => { warnings.push(text) }, path: folder, ...options })

beforeAll(() => {
  const file = join(folder, 'swtpm')
  writeFileSync(file, program(process.execPath))
  chmodSync(file, 0o755)
})
afterAll(() => { rmSync(folder, { recursive: true }) })

describe('swtpm', () => {
  it('is found in PATH, where it is', () => {
    expect(findSwtpm(`/no/such:${folder}`)).toBe(join(folder, 'swtpm'))
    expect(findSwtpm(state)).toBeUndefined()
    expect(() => openSwtpm({ warn: () => undefined, path: '/no/such' })).toThrow('--svsm-vtpm: swtpm is not installed')
  })

  it('answers while the machine waits', () => {
    const tpm = open()
    for (let i = 0; i < 3; i++) {
      expect([...tpm.command(COMMAND) ?? []]).toEqual([0x80, 1, 0, 0, 0, 13, ...COMMAND.slice(6), 12])
    }
    tpm.close()
  })

  it('starts anew with the machine, with the state that it had', () => {
    const tpm = open({ state })
    expect(tpm.command(COMMAND)).not.toBeNull()
    tpm.powerOn()
    expect(tpm.command(COMMAND)).not.toBeNull()
    tpm.close()
    expect(readdirSync(state)).toEqual(['tpm2-00.permall'])
  })

  it('leaves nothing behind where nobody wants to keep it', () => {
    vi.stubEnv('TMPDIR', folder)
    const tpm = open()
    tpm.command(COMMAND)
    const names = (): string[] => readdirSync(folder).filter((name) => name.startsWith('cofferdam-tpm-'))
    expect(names()).toHaveLength(1)
    tpm.close()
    expect(names()).toEqual([])
    vi.unstubAllEnvs()
  })

  it('that dies is told of once, and gives no answer', () => {
    const tpm = open()
    const fatal = COMMAND.with(6, 0xff)
    warnings.length = 0
    expect(tpm.command(fatal)).toBeNull()
    expect(tpm.command(fatal)).toBeNull()
    expect(warnings).toEqual(['swtpm does not answer: the guest has no TPM any more'])
    tpm.close()
  })

  it('needs a folder that can be made', () => {
    expect(() => open({ state: join(folder, 'swtpm', 'below') })).toThrow(/svsm-vtpm .*: .*: expected a folder/)
  })
})
