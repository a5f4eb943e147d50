/** Contents of files: read(5), write(5), Tfsync. */
import { fail, failed, type Answer } from '../errno.ts'
import type { FidTable, Opened } from '../fids.ts'
import { message } from '../message.ts'
import { HEADER } from '../wire.ts'

/** Bytes of a reply that carries data, without the data. */
export const DATA_HEADER = HEADER + 4

const largestOffset = BigInt(Number.MAX_SAFE_INTEGER)

type OpenedFile = Extract<Opened, { kind: 'file' }>

function openFile(fids: FidTable, number: number): Answer<OpenedFile> {
  const fid = fids.get(number)
  if (failed(fid)) return fid
  if (fid.opened === undefined) return fail('EBADF')
  return fid.opened.kind === 'file' ? fid.opened : fail('EISDIR')
}

/** Tread: as much as is there, as was asked for, and as fits into the reply. */
export const tread = message({
  type: 116,
  name: 'Tread',
  request: { fid: 'u32', offset: 'u64', count: 'u32' },
  reply: { data: 'data' },
  serve({ fids, room }, { fid, offset, count }) {
    const opened = openFile(fids, fid)
    if (failed(opened)) return opened
    if (!opened.options.read) return fail('EBADF')
    if (offset > largestOffset) return { data: new Uint8Array() }
    const data = new Uint8Array(Math.max(0, Math.min(count, room - DATA_HEADER)))
    const got = opened.file.read(Number(offset), data)
    return failed(got) ? got : { data: data.subarray(0, got) }
  },
})

export const twrite = message({
  type: 118,
  name: 'Twrite',
  request: { fid: 'u32', offset: 'u64', data: 'data' },
  reply: { count: 'u32' },
  changes: true,
  serve({ fids }, { fid, offset, data }) {
    const opened = openFile(fids, fid)
    if (failed(opened)) return opened
    if (!opened.options.write) return fail('EBADF')
    if (offset + BigInt(data.length) > largestOffset) return fail('EFBIG')
    const count = opened.file.write(Number(offset), data)
    return failed(count) ? count : { count }
  },
})

/** Tfsync: answered when the content is on the medium. A directory has nothing that waits. */
export const tfsync = message({
  type: 50,
  name: 'Tfsync',
  request: { fid: 'u32', datasync: 'u32' },
  reply: {},
  serve({ fids }, { fid: number, datasync }) {
    const fid = fids.get(number)
    if (failed(fid)) return fid
    if (fid.opened === undefined) return fail('EBADF')
    return (fid.opened.kind === 'file' ? fid.opened.file.sync(datasync !== 0) : undefined) ?? {}
  },
})
