import type { BigIntStats } from 'node:fs'

/** A file's identity on the host. */
export const keyOf = ({ dev, ino }: Pick<BigIntStats, 'dev' | 'ino'>): string => `${dev}:${ino}`

/** Numbers for files that the guest sees: the same for one file, never the same for two. */
export interface FileNumbers {
  /** The number of a file. */
  of(key: string): bigint
  /** All numbers, in an order that only depends on what was looked at. */
  snapshot(): object
  /** @throws Error for what is no such list */
  restore(saved: unknown): void
  /** The file is gone; the host may give its identity to another one. */
  forget(key: string): void
}

/** So many files are remembered; it takes some 50 MB. */
const most = 2 ** 19

const foreign = 1n << 63n

type Entry = readonly [key: string, number: number]

const isEntry = (entry: unknown): entry is Entry =>
  Array.isArray(entry) && typeof entry[0] === 'string' && /^\d+:\d+$/.test(entry[0]) && Number.isSafeInteger(entry[1])

/** @throws Error for what is no list of numbers */
const checkNumbers = (saved: unknown): { readonly next: number; readonly files: readonly Entry[] } => {
  const { next, files } = (saved ?? {}) as { next?: unknown; files?: unknown }
  const isList = Array.isArray(files) && files.length <= most && files.every(isEntry)
  if (!isList || !Number.isSafeInteger(next)) throw new Error('numbers of files: expected a list')
  return { next: next as number, files }
}

/**
 * Numbers by the order in which files are seen, which is the guest's doing: another copy of a folder, with other inode
 * numbers, looks the same. Files past half a million get a number from their inode instead.
 */
export const createFileNumbers = (): FileNumbers => {
  const numbers = new Map<string, bigint>()
  let next = 1n
  return {
    of(key) {
      const known = numbers.get(key)
      if (known !== undefined) return known
      if (numbers.size >= most) {
        const [dev = '0', ino = '0'] = key.split(':')
        return foreign | BigInt.asUintN(63, BigInt(ino) ^ (BigInt(dev) * 0x9e37_79b9_7f4a_7c15n))
      }
      const number = next++
      numbers.set(key, number)
      return number
    },
    snapshot: () => ({ next: Number(next), files: [...numbers].map(([key, number]): Entry => [key, Number(number)]) }),
    restore: (saved) => {
      const checked = checkNumbers(saved)
      numbers.clear()
      for (const [key, number] of checked.files) numbers.set(key, BigInt(number))
      next = BigInt(checked.next)
    },
    forget: (key) => {
      numbers.delete(key)
    },
  }
}
