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
  /**
   * Boots with these kernel parameters to an idle shell, and answers the program that goes on there, and types a line.
   */
  resume?(append: string, line: string): Program
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

// The kernel goes on with work of its own when the shell is there: three seconds later it rests.
const rest = 'sleep 3; echo at-""rest\n'

/** Our machine, as built, on this very Node; `folder` is for its snapshots. */
export const ours = ({ kernel, initramfs }: Images, engine: string, folder: string): Contestant => {
  const boot = (append: string): string[] => [
    built, 'boot', '--kernel', kernel, '--initrd', initramfs, '--memory', '2G', '--vcpus', '1', '--engine', engine,
    ...(append === '' ? [] : ['--append', append]),
  ]
  return {
    name: 'cofferdam',
    version: `${cofferdam('--version').trim()}, Node ${process.versions.node}`,
    program: (append) => ({ command: process.execPath, args: boot(append) }),
    resume(append, line) {
      const snapshot = join(folder, 'shell.snap')
      if (!existsSync(snapshot)) {
        const args = [...boot(append), '--snapshot-at', 'at-rest', '--snapshot', snapshot, '--snapshot-stop']
        execFileSync(process.execPath, args, { input: rest, stdio: ['pipe', 'ignore', 'inherit'] })
      }
      return {
        command: process.execPath, args: [built, 'boot', '--restore', snapshot, '--engine', engine], input: `${line}\n`,
      }
    },
  }
}

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
