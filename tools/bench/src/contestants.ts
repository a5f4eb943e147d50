import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { root } from '@cofferdam/tool-workspace'
import type { Program } from './watch.ts'

/** What both boot. */
export interface Images {
  readonly kernel: string
  readonly initramfs: string
}

/** A machine to time. */
export interface Contestant {
  readonly name: string
  readonly version: string
  /** The program that boots with these kernel parameters. */
  program(append: string): Program
}

const parameters = 'console=ttyS0,115200 panic=-1'

/** The command line as it was built. */
export const built = join(root, 'apps/cofferdam/dist/main.js')

const cofferdam = (...args: string[]): string => execFileSync(process.execPath, [built, ...args], { encoding: 'utf8' })

/** Fetches the kernel and writes the initramfs. */
export const prepareImages = (folder: string, kernelName: string): Images => {
  if (!existsSync(built)) throw new Error(`${built} is missing: npm run build`)
  const initramfs = join(folder, 'initramfs.cpio')
  cofferdam('images', 'initramfs', initramfs)
  if (existsSync(kernelName)) return { kernel: kernelName, initramfs }
  cofferdam('images', 'fetch', kernelName)
  const list = JSON.parse(cofferdam('images', '--json')) as readonly { readonly name: string, readonly path: string }[]
  return { kernel: list.find(({ name }) => name === kernelName)?.path ?? '', initramfs }
}

/** Our machine, as built, on this very Node. */
export const ours = ({ kernel, initramfs }: Images, engine: string): Contestant => ({
  name: 'cofferdam',
  version: `${cofferdam('--version').trim()}, Node ${process.versions.node}`,
  program: (append) => ({
    command: process.execPath,
    args: [
      built, 'boot', '--kernel', kernel, '--initrd', initramfs, '--memory', '2G', '--vcpus', '1', '--engine', engine,
      ...(append === '' ? [] : ['--append', append]),
    ],
  }),
})

/** QEMU's TCG with one processor and no devices that the boot would only look at; undefined if it is not installed. */
export const qemu = ({ kernel, initramfs }: Images): Contestant | undefined => {
  const command = 'qemu-system-x86_64'
  let version: string
  try {
    version = execFileSync(command, ['--version'], { encoding: 'utf8' }).split('\n')[0] ?? ''
  } catch {
    return undefined
  }
  return {
    name: 'QEMU TCG',
    version: version.replace('QEMU emulator version ', ''),
    program: (append) => ({
      command,
      args: [
        '-accel', 'tcg', '-M', 'q35', '-cpu', 'max', '-m', '2G', '-smp', '1', '-nodefaults', '-display', 'none',
        '-serial', 'stdio', '-no-reboot', '-kernel', kernel, '-initrd', initramfs,
        '-append', `${parameters} ${append}`,
      ],
    }),
  }
}
