/** Version, authentication, attaching, flushing: version(5), attach(5), flush(5). */
import { fail, failed } from '../errno.ts'
import { message } from '../message.ts'

/** The dialect that is spoken. */
export const VERSION = '9P2000.L'

/** Bytes of the smallest message size that is agreed to: a name of 255 bytes and a symbolic link fit, and to spare. */
export const SMALLEST_MSIZE = 4096

/** "No fid" and "no tag". */
export const NOFID = 0xffff_ffff
export const NOTAG = 0xffff

/** Tversion starts a session anew: all fids are gone. Another dialect is answered by "unknown". */
export const tversion = message({
  type: 100,
  name: 'Tversion',
  request: { msize: 'u32', version: 'text' },
  reply: { msize: 'u32', version: 'text' },
  serve(session, { msize, version }) {
    session.fids.clear()
    session.msize = 0
    if (msize < SMALLEST_MSIZE) return fail('EMSGSIZE')
    const agreed = Math.min(msize, session.largest)
    // version(5): a version with a suffix that the server doesn't know may be answered with the part before it, or so
    if (version !== VERSION) return { msize: agreed, version: 'unknown' }
    session.msize = agreed
    return { msize: agreed, version: VERSION }
  },
})

/** Tauth: nobody needs to authenticate. */
export const tauth = message({
  type: 102,
  name: 'Tauth',
  request: { afid: 'u32', uname: 'text', aname: 'text', uid: 'u32' },
  reply: { aqid: 'qid' },
  serve: () => fail('EOPNOTSUPP'),
})

/** Tattach: there is one tree, called "" or "/". Every user gets it, with the rights of whoever runs the server. */
export const tattach = message({
  type: 104,
  name: 'Tattach',
  request: { fid: 'u32', afid: 'u32', uname: 'text', aname: 'text', uid: 'u32' },
  reply: { qid: 'qid' },
  serve({ files, fids }, { fid, afid, aname }) {
    if (afid !== NOFID) return fail('EBADF')
    if (aname !== '' && aname !== '/') return fail('ENOENT')
    if (fid === NOFID || !fids.free(fid)) return fail('EBADF')
    const root = files.root()
    if (failed(root)) return root
    const added = fids.add(fid, root, root.qid)
    return failed(added) ? added : { qid: root.qid }
  },
})

/** Tflush: every request is answered before the next one is looked at, so there is nothing to abort. */
export const tflush = message({
  type: 108,
  name: 'Tflush',
  request: { oldtag: 'u16' },
  reply: {},
  serve: () => ({}),
})
