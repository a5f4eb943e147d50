import { InvalidArgumentError } from 'commander'

/** What becomes of what the guest writes. */
export type DiskMode = 'ro' | 'rw' | 'overlay'

/** One `--disk`. */
export interface DiskArgument {
  readonly file: string
  readonly mode: DiskMode
  /** Keeps what the guest writes; without it an overlay ends with the machine. */
  readonly overlay?: string
  readonly serial?: string
}

const expected = 'FILE[,ro|rw|overlay[=FILE]][,serial=TEXT]'

const refuse = (problem: string): InvalidArgumentError => new InvalidArgumentError(`${problem}; expected ${expected}`)

/** Parts at commas; two commas stand for one in a name. */
const split = (text: string): string[] =>
  // an argument of a process cannot hold the NUL that stands for a comma here
  text
    .replaceAll(',,', '\0')
    .split(',')
    .map((part) => part.replaceAll('\0', ','))

const readMode = (word: string): Pick<DiskArgument, 'mode' | 'overlay'> | undefined => {
  if (word === 'ro' || word === 'rw' || word === 'overlay') return { mode: word }
  const [, overlay] = /^overlay=(.+)$/.exec(word) ?? []
  return overlay === undefined ? undefined : { mode: 'overlay', overlay }
}

/** A disk: {@link expected}; may be repeated. What the guest writes is thrown away unless something else is said. */
export const parseDisk = (text: string, before: readonly DiskArgument[] = []): DiskArgument[] => {
  const [file = '', ...words] = split(text)
  if (file === '') throw refuse('the file is missing')
  let mode: Pick<DiskArgument, 'mode' | 'overlay'> | undefined
  let serial: string | undefined
  for (const word of words) {
    const given = readMode(word)
    if (given !== undefined && mode === undefined) mode = given
    else if (given !== undefined) throw refuse(`'${word}' comes after another mode`)
    else if (word.startsWith('serial=') && serial === undefined) serial = word.slice('serial='.length)
    else throw refuse(`'${word}' is not known, or comes twice`)
  }
  return [...before, { file, mode: 'overlay', ...mode, ...(serial !== undefined && { serial }) }]
}
