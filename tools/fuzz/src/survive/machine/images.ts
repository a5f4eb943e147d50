/**
 * Damaged files: kernels of every format, initramfs archives, firmware with its variables, IGVM files, kernel modules
 * and programs, symbols, attestation reports and certificates. Each is loaded or refused by name, field and
 * expectation; a part of what is loaded runs for a while, as a plain machine.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import {
  BootError, checkInitrd, igvmLaunch, layOutFirmware, loadKernel, pcMemoryMap, snpDirectBoot,
} from '@cofferdam/boot'
import { parseSymbols, SymbolsError } from '@cofferdam/findings'
import { createMachine, MachineError, type SnpEndorsement } from '@cofferdam/machine'
import { createRandom, type Random } from '@cofferdam/oracle'
import {
  certificateTable, describeReport, parseCertificateTable, parseReport, SevInputError, verifyReport,
} from '@cofferdam/sev'
import { AttestationReport, CertGuid } from '@cofferdam/spec'
import {
  elfNeeds, flatKernel, igvmFile, isCliError, readModuleInfo, syntheticBzImage, syntheticCpio, syntheticElf,
} from '../../inside.ts'
import { watchHang } from '../clock.ts'
import { caseSeed, type Survivor } from '../processor.ts'
import { mutate } from './mutate.ts'

const MEMORY = 64 * 2 ** 20
/** One case of so many runs what was loaded. */
const RUNS = 64

/** How a case ended, in a word. */
type Load = (random: Random, bytes: Uint8Array) => string

interface Kind {
  readonly name: string
  readonly image: Uint8Array
  /** Offsets of what loaders look at. */
  readonly hot: readonly number[]
  readonly load: Load
}

const span = (from: number, to: number, step: number): number[] =>
  Array.from({ length: Math.ceil((to - from) / step) }, (_, i) => from + i * step)
const base = { append: '', memory: MEMORY, vcpus: 1, seed: 1, engine: 'auto', cpu: 'intel' } as const
const acpi = { apicIds: [0] }
const smbios = { manufacturer: 'a', product: 'b', version: '1', date: '01/01/2024', memory: MEMORY }

/** Whole machines run what was loaded: whatever it does, they say how they ended. */
function runFor(options: Partial<Parameters<typeof createMachine>[0]>): string {
  const machine = createMachine({ ...base, ...options })
  let last = ''
  for (let i = 0; i < 4; i++) {
    last = machine.run({ instructions: 100_000 }).reason
    if (last !== 'budget' && last !== 'idle') break
  }
  return `ran: ${last}`
}

/** Memory that loaders write to: nothing may come to lie outside of it. */
function inside(address: number, bytes: Uint8Array): void {
  const map = pcMemoryMap(MEMORY)
  const end = Math.max(...map.map(({ start, length }) => start + length))
  if (!(address >= 0) || address + bytes.length > end) {
    throw new Error(`${bytes.length} bytes at ${address} are outside of the machine`)
  }
}

const loadAny: Load = (random, bytes) => {
  if (random.below(RUNS) === 0) return runFor({ kernel: { name: 'file', bytes } })
  loadKernel({
    kernel: bytes, initrd: new Uint8Array(random.below(5000)), cmdline: 'a', memory: MEMORY, acpi, smbios,
    write: inside,
  })
  return 'loaded'
}
const loadSnp: Load = (_random, bytes) => {
  snpDirectBoot({
    kernel: bytes, initrd: undefined, cmdline: '', memory: MEMORY, cBit: 51, acpi, smbios, accept: 'lazy',
  })
  return 'loaded'
}
const loadIgvm: Load = (random, bytes) => {
  const file = { name: 'file', bytes }
  if (random.below(RUNS) === 0) return runFor({ firmware: file, cc: 'snp', cpu: 'amd' })
  const ram = [{ start: 0, length: MEMORY }]
  const mmio = [{ start: MEMORY, length: MEMORY }, { start: 2 ** 32, length: MEMORY }] as const
  igvmLaunch({ file, vcpus: 1, ram, mmio, cmdline: 'a', acpi: { ...acpi, nodes: [{ ranges: ram, apicIds: [0] }] } })
  return 'loaded'
}
/** In the places of a report and of each certificate in its chain; all are the same bytes here. */
const loadChain: Load = (random, bytes) => {
  const report = random.below(2) === 0 ? bytes : new Uint8Array(AttestationReport.size)
  return verifyReport({ report, endorsement: bytes, intermediate: bytes, root: bytes }).ok ? 'accepted' : 'refused'
}
const loadFirmware: Load = (random, bytes) => {
  if (random.below(RUNS) === 0) return runFor({ firmware: { name: 'file', bytes } })
  layOutFirmware({ name: 'file', bytes })
  return 'loaded'
}

/** A file of the cache of images, when it is there. */
function cached(prefix: string, file: string): Uint8Array | null {
  const folder = join(homedir(), '.cache/cofferdam/images')
  if (!existsSync(folder)) return null
  const name = readdirSync(folder).find((one) => one.startsWith(prefix) && existsSync(join(folder, one, file)))
  return name === undefined ? null : new Uint8Array(readFileSync(join(folder, name, file)))
}

const SYMBOLS =
  Array.from({ length: 60 }, (_, i) => `ffffffff81${(i * 64).toString(16).padStart(6, '0')} T name_${i}`).join('\n')

const HEADER = [0, ...span(0x1f1, 0x270, 1), 0x800, 0xa00]

/** What vouches for a chip. */
const chipKinds = ({ ark, ask, vcek }: SnpEndorsement): Kind[] => [
  {
    name: 'certificates', hot: span(0, 0x100, 1),
    load: (_random, bytes) => `${parseCertificateTable(bytes).length} of them`,
    image: certificateTable([
      { guid: CertGuid.ARK, bytes: ark }, { guid: CertGuid.ASK, bytes: ask }, { guid: CertGuid.VCEK, bytes: vcek },
    ]),
  },
  { name: 'certificate, RSA', image: ask, hot: span(0, 0x80, 1), load: loadChain },
  { name: 'certificate, ECDSA', image: vcek, hot: span(0, 0x200, 1), load: loadChain },
]

/** Everything that can be damaged; real files where the cache has them. */
function kinds(chip: SnpEndorsement | undefined): Kind[] {
  const code = Uint8Array.of(0xf4, 0xeb, 0xfd)
  const elf = (bits: 32 | 64): Uint8Array => syntheticElf({
    bits, entry: 0x10_0000,
    segments: [{ physical: 0x10_0000, data: code, memorySize: 0x3000 }, { physical: 0x20_0000, data: code }],
    note: { name: 'Xen', type: 18, data: Uint8Array.of(0, 0, 0x10, 0, 0, 0, 0, 0) },
  })
  const variables = new Uint8Array(0x2_0000).fill(0x90)
  variables.set([0x8d, 0x2b, 0xf1, 0xff, 0x96, 0x76, 0x8b, 0x4c, 0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50], 16)
  variables.set([0, 0, 1, 0, 0, 0, 0, 0, 0x5f, 0x46, 0x56, 0x48], 32)
  const real = (name: string, bytes: Uint8Array | null, hot: readonly number[], load: Load): Kind[] =>
    (bytes === null ? [] : [{ name, image: bytes, hot, load }])
  const firmware = cached('ovmf_', 'OVMF.fd')
  const program = cached('busybox', 'busybox')
  const archive = new Uint8Array(syntheticCpio(2000))
  return [
    { name: 'bzImage', image: syntheticBzImage(), hot: HEADER, load: loadAny },
    { name: 'bzImage for SNP', image: syntheticBzImage(), hot: HEADER, load: loadSnp },
    { name: 'ELF, 32 bits', image: elf(32), hot: span(0, 0xe0, 2), load: loadAny },
    { name: 'ELF, 64 bits', image: elf(64), hot: span(0, 0x120, 2), load: loadAny },
    { name: 'Multiboot', image: flatKernel('f4 ebfd').bytes, hot: span(0, 0x20, 4), load: loadAny },
    {
      name: 'initramfs', image: archive, hot: span(0, 0x100, 4),
      load: (_random, bytes) => `${checkInitrd(bytes).length} remarks`,
    },
    {
      name: 'variables', image: variables, hot: span(0, 0x48, 4), load: (random, bytes) => {
        layOutFirmware(
          { name: 'firmware', bytes: random.below(2) === 0 ? variables : new Uint8Array(0x1000).fill(0x90) },
          { name: 'file', bytes },
        )
        return 'loaded'
      },
    },
    {
      name: 'firmware', image: variables, hot: [...span(0, 0x48, 4), ...span(0x1_fff0, 0x2_0000, 1)],
      load: loadFirmware,
    },
    { name: 'IGVM', image: igvmFile('a').bytes, hot: span(0, 0x400, 2), load: loadIgvm },
    {
      name: 'symbols', image: new TextEncoder().encode(SYMBOLS), hot: [],
      load: (_random, bytes) => { parseSymbols('file', bytes); return 'read' },
    },
    {
      name: 'symbols, ELF', image: elf(64), hot: span(0, 0x120, 2),
      load: (_random, bytes) => { parseSymbols('file', bytes); return 'read' },
    },
    {
      name: 'report', image: AttestationReport.create({ version: 3, signatureAlgorithm: 1, policy: 0x3_0000n }),
      hot: span(0, 0x200, 4),
      load: (_random, bytes) => (describeReport(parseReport(bytes)).length > 0 ? 'read' : 'empty'),
    },
    ...chip === undefined ? [] : chipKinds(chip),
    ...real('a real bzImage', cached('sid-cloud', 'vmlinuz'), HEADER, loadAny),
    ...real(
      'OVMF', firmware,
      firmware === null ? [] : [...span(0, 0x48, 4), ...span(firmware.length - 0x400, firmware.length, 4)],
      loadFirmware,
    ),
    ...real('a program', program, span(0, 0x400, 4), (_random, bytes) => { elfNeeds('file', bytes); return 'read' }),
    ...real(
      'a module', program, span(0, 0x400, 4), (_random, bytes) => { readModuleInfo('file', bytes); return 'read' },
    ),
  ]
}

/** What files are refused with: it names the file and the field. */
const isClear = (error: unknown): boolean =>
  error instanceof BootError || error instanceof SymbolsError
    || error instanceof SevInputError || error instanceof MachineError || isCliError(error)

export interface ImageOptions {
  /** A chip's certificates, which are damaged as well. */
  readonly chip?: SnpEndorsement
}

export function createImageSurvivor({ chip }: ImageOptions = {}): Survivor {
  const all = kinds(chip)
  return {
    run(seed, number) {
      const random = createRandom(caseSeed(seed, number))
      const { name, image, hot, load } = random.pick(all)
      // Large files cost as much as a thousand small ones.
      const bytes = image.length > 2 ** 20 && random.below(20) !== 0 ? mutate(
        random, all[0].image, HEADER,
      ) : mutate(random, image, hot)
      const hang = watchHang()
      try {
        const ended = load(random, bytes)
        const problem = hang()
        return { ended: `${name}: ${ended}`, problem: problem && `${name}: ${problem}` }
      } catch (error) {
        if (isClear(error)) return { ended: `${name}: refused`, problem: null }
        return { ended: 'exception', problem: `${name}: ${(error as Error).stack ?? String(error)}` }
      }
    },
  }
}
