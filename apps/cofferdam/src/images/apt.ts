import { spawn } from 'node:child_process'
import { access, constants, mkdir, readFile, readdir, writeFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { usageError } from '../errors.ts'
import type { Suite } from './catalog.ts'
import { findDebianMirror, parseDeb822, parseOneLine, type Mirror } from './sources.ts'

/** How far a fetch has come. */
export interface FetchProgress {
  readonly what: string
  /** 0 to 1; `undefined` when it can't be known. */
  readonly fraction: number | undefined
}

/** The fields of a binary package that fetching needs. */
export interface PackageInfo {
  readonly name: string
  readonly version: string
  readonly depends: readonly string[]
}

/** Debian packages of one suite, through the machine's apt but in a folder of our own. */
export interface Apt {
  /** Brings the suite's package lists up to date; apt verifies their signature. */
  update(onProgress: (progress: FetchProgress) => void): Promise<void>
  /** The newest version of a package; `undefined` when the suite has none. */
  show(packageName: string): Promise<PackageInfo | undefined>
  /** Downloads packages, verified by apt, into `into` and returns the paths of the .deb files. */
  download(packageNames: readonly string[], into: string, onProgress: (p: FetchProgress) => void): Promise<string[]>
}

const noAptHint =
  'Give your own images instead: cofferdam boot --kernel FILE --initrd FILE (any bzImage and any cpio archive)'

const findProgram = async (name: string): Promise<string | undefined> => {
  for (const folder of (process.env.PATH ?? '').split(delimiter).filter(Boolean)) {
    const path = join(folder, name)
    if (await access(path, constants.X_OK).then(() => true, () => false)) return path
  }
  return undefined
}

/** Whether this machine can fetch Debian packages at all; the reason if not. */
export const aptMissing = async (): Promise<string | undefined> => {
  for (const name of ['apt-get', 'apt-cache', 'dpkg-deb']) {
    if (!(await findProgram(name))) return `there is no ${name} on this machine`
  }
  return undefined
}

interface RunOptions {
  readonly cwd?: string
  readonly onStatus?: (line: string) => void
}

const run = (program: string, args: readonly string[], { cwd, onStatus }: RunOptions = {}): Promise<string> =>
  new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd,
      env: { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' },
      stdio: ['ignore', 'pipe', 'pipe', onStatus ? 'pipe' : 'ignore'],
    })
    let out = ''
    let err = ''
    let status = ''
    child.stdout?.setEncoding('utf8').on('data', (text: string) => (out += text))
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (err += text))
    child.stdio[3]?.on('data', (chunk: Uint8Array) => {
      status += new TextDecoder().decode(chunk)
      const lines = status.split('\n')
      status = lines.pop() ?? ''
      for (const line of lines) onStatus?.(line)
    })
    child.on('error', (error) => reject(usageError(`images: could not run ${program}: ${error.message}`, noAptHint)))
    child.on('close', (code) => {
      if (code === 0) return resolve(out)
      const said = err.split('\n').filter((line) => /^[EW]:|error/i.test(line)).slice(0, 4).join(' ') || err.trim()
      reject(usageError(`images: ${program} ${args.at(-1) ?? ''} failed: ${said || `status ${code}`}`, noAptHint))
    })
  })

// Another process of ours may be fetching the same lists.
const lockPatienceMs = 60_000

const retryWhileLocked = async (action: () => Promise<unknown>): Promise<void> => {
  for (let waited = 0; ; waited += 500) {
    try {
      await action()
      return
    } catch (error) {
      if (waited >= lockPatienceMs || !String(error).includes('Could not get lock')) throw error
      await new Promise((resolve) => setTimeout(resolve, 500))
    }
  }
}

/** Reads the machine's own apt sources and returns the Debian archive that they name. */
export const machineMirror = async (folder = '/etc/apt'): Promise<Mirror> => {
  const parts = join(folder, 'sources.list.d')
  const names = (await readdir(parts).catch(() => [])).sort()
  const paths = [join(folder, 'sources.list'), ...names.map((name) => join(parts, name))]
  const entries = []
  for (const path of paths) {
    const text = await readFile(path, 'utf8').catch(() => '')
    if (path.endsWith('.sources')) entries.push(...parseDeb822(text))
    else if (path.endsWith('.list')) entries.push(...parseOneLine(text))
  }
  const mirror = findDebianMirror(entries)
  if (mirror) return mirror
  throw usageError(`images: none of this machine's apt sources in ${folder} is a Debian archive`, noAptHint)
}

// `Targets: Packages` keeps apt from fetching translations and other indexes that the machine's settings add.
const sourcesText = ({ uri, signedBy }: Mirror, suite: Suite): string =>
  [
    'Types: deb',
    `URIs: ${uri}`,
    `Suites: ${suite}`,
    'Components: main',
    'Architectures: amd64',
    'Targets: Packages',
    ...(signedBy === undefined ? [] : [`Signed-By: ${signedBy}`]),
    '',
  ].join('\n')

// apt.conf(5). The file is read after the machine's own settings (`-c`), so that proxies stay as the machine has them;
// pins and hooks of the machine concern its own packages, and are put aside.
const configText = (root: string): string =>
  `Dir::State "${root}/state";
Dir::State::lists "${root}/lists";
Dir::State::status "${root}/status";
Dir::Cache "${root}/cache";
Dir::Etc::sourcelist "${root}/none.list";
Dir::Etc::sourceparts "${root}/sources.d";
Dir::Etc::preferences "${root}/none";
Dir::Etc::preferencesparts "${root}/none.d";
APT::Architecture "amd64";
APT::Architectures "amd64";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "3";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Default-Release;
`

const parseDepends = (text: string): string[] =>
  text
    .split(',')
    .map((part) => /^\s*([a-z0-9][a-z0-9+.-]*)/.exec(part)?.[1])
    .filter((name) => name !== undefined)

/** Parses the first stanza that `apt-cache show` prints: the newest version. */
export const parsePackage = (text: string): PackageInfo | undefined => {
  const stanza = text.split('\n\n')[0] ?? ''
  const field = (name: string): string | undefined => new RegExp(`^${name}: (.*)$`, 'm').exec(stanza)?.[1]
  const name = field('Package')
  const version = field('Version')
  if (name === undefined || version === undefined) return undefined
  return { name, version, depends: parseDepends(field('Depends') ?? '') }
}

// apt's status descriptor (apt README.progress-reporting): dlstatus:item:percent:text
const onDownloadStatus =
  (what: string, onProgress: (progress: FetchProgress) => void) =>
  (line: string): void => {
    const percent = /^dlstatus:\d+:([\d.]+):/.exec(line)?.[1]
    if (percent !== undefined) onProgress({ what, fraction: Math.min(1, Number(percent) / 100) })
  }

/**
 * Opens the private apt folder of a suite, making it when it is not there. Nothing is fetched yet. Needs no root.
 * @param root - a folder of ours alone
 */
export const openApt = async (root: string, suite: Suite, mirror: Mirror): Promise<Apt> => {
  for (const folder of ['lists/partial', 'cache/archives/partial', 'state', 'sources.d', 'none.d']) {
    await mkdir(join(root, folder), { recursive: true })
  }
  const config = join(root, 'apt.conf')
  await writeFile(config, configText(root))
  await writeFile(join(root, 'sources.d', 'debian.sources'), sourcesText(mirror, suite))
  await writeFile(join(root, 'status'), '')
  const base = ['-c', config]
  const status = [...base, '-q', '-o', 'APT::Status-Fd=3']
  return {
    update: async (onProgress) => {
      const onStatus = onDownloadStatus(`package lists of ${suite}`, onProgress)
      await retryWhileLocked(() => run('apt-get', [...status, 'update'], { onStatus }))
    },
    show: async (packageName) => {
      const shown = await run('apt-cache', [...base, 'show', packageName]).catch(() => '')
      return parsePackage(shown)
    },
    download: async (packageNames, into, onProgress) => {
      const before = new Set(await readdir(into))
      const onStatus = onDownloadStatus(packageNames.join(' '), onProgress)
      await run('apt-get', [...status, 'download', ...packageNames], { cwd: into, onStatus })
      const fetched = (await readdir(into)).filter((name) => name.endsWith('.deb') && !before.has(name))
      return fetched.map((name) => join(into, name))
    },
  }
}

/** The bytes of a file that may be compressed: .xz, .zst and what else apt knows. */
export const catFile = (path: string): Promise<Uint8Array> =>
  new Promise((resolve, reject) => {
    // apt's own helper, which is always there and needs no xz program
    const child = spawn('/usr/lib/apt/apt-helper', ['cat-file', path], { stdio: ['ignore', 'pipe', 'pipe'] })
    const parts: Uint8Array[] = []
    let complaint = ''
    child.stdout.on('data', (part: Uint8Array) => parts.push(part))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (complaint += text))
    child.on('error', (error) => reject(usageError(`images: could not run apt-helper: ${error.message}`, noAptHint)))
    child.on('close', (code) => {
      if (code === 0) resolve(Buffer.concat(parts))
      else reject(usageError(`images: apt-helper cat-file ${path} failed: ${complaint.trim()}`, noAptHint))
    })
  })

/** Unpacks a Debian package's files into a folder. */
export const unpackDeb = async (deb: string, into: string): Promise<void> => {
  await run('dpkg-deb', ['-x', deb, into])
}
