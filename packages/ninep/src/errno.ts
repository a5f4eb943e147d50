/** Error numbers of Linux that the server answers with (include/uapi/asm-generic/errno-base.h and errno.h). */
export const Errno = {
  EPERM: 1, ENOENT: 2, EIO: 5, EBADF: 9, ENOMEM: 12, EACCES: 13, EBUSY: 16, EEXIST: 17, EXDEV: 18, ENOTDIR: 20,
  EISDIR: 21, EINVAL: 22, ENFILE: 23, EMFILE: 24, EFBIG: 27, ENOSPC: 28, EROFS: 30, EMLINK: 31, ERANGE: 34,
  ENAMETOOLONG: 36, ENOTEMPTY: 39, ELOOP: 40, EPROTO: 71, EOVERFLOW: 75, EILSEQ: 84, EMSGSIZE: 90, EOPNOTSUPP: 95,
  ESTALE: 116, EDQUOT: 122,
} as const

/** A request that failed, with the number that the client gets. */
export interface Failure {
  /** A Linux error number, 1 to 4095. */
  readonly errno: number
}

/** What a request gives, or why it failed. */
export type Answer<T> = T | Failure

/** Nothing, or why it failed. */
export type Done = Failure | undefined

const failures = new Map<number, Failure>()

/** The failure of a name, e.g. `fail('ENOENT')`. One record per error: compare by `errno`. */
export function fail(name: keyof typeof Errno): Failure {
  const errno = Errno[name]
  const failure = failures.get(errno) ?? Object.freeze({ errno })
  failures.set(errno, failure)
  return failure
}

/** Whether an answer is a failure. No record that the server deals in has a field `errno` but this one. */
export const failed = (answer: unknown): answer is Failure =>
  typeof answer === 'object' && answer !== null && 'errno' in answer
