/** From fid to fid: walk(5), clunk(5). */
import { fail, failed, type Answer } from '../errno.ts'
import { QID, type NinePNode, type Qid } from '../files.ts'
import { message } from '../message.ts'
import { NOFID } from './session.ts'

interface Walked {
  readonly qids: readonly Qid[]
  /** Where the walk ended; to be released, unless it is where it started. */
  readonly node: NinePNode
  readonly parent: Qid
}

/** Goes from `start` through `names` as far as they exist; the first one must. */
function walk(start: NinePNode, parent: Qid, names: readonly string[]): Answer<Walked> {
  let at = { node: start, parent }
  const qids: Qid[] = []
  for (const name of names) {
    const next: Answer<NinePNode> = (at.node.qid.type & QID.DIRECTORY) === 0 ? fail('ENOTDIR') : at.node.child(name)
    if (failed(next)) {
      if (at.node !== start) at.node.release()
      return qids.length === 0 ? next : { qids, node: start, parent }
    }
    if (at.node !== start) at.node.release()
    at = { node: next, parent: at.node.qid }
    qids.push(next.qid)
  }
  return { qids, ...at }
}

/** Twalk: `newfid` comes to stand for what the names lead to, if all of them exist. Without names it is a copy. */
export const twalk = message({
  type: 110,
  name: 'Twalk',
  request: { fid: 'u32', newfid: 'u32', names: 'names' },
  reply: { qids: 'qids' },
  serve({ fids }, { fid: number, newfid, names }) {
    const fid = fids.get(number)
    if (failed(fid)) return fid
    const same = newfid === number
    if (newfid === NOFID || (!same && !fids.free(newfid))) return fail('EBADF')
    // walk(5): a fid that moves must not be open
    if (same && fid.opened !== undefined) return fail('EBUSY')
    if (names.length === 0) {
      if (same) return { qids: [] }
      const copy = fid.node.share()
      const added = fids.add(newfid, copy, fid.parent)
      return failed(added) ? added : { qids: [] }
    }
    const walked = walk(fid.node, fid.parent, names)
    if (failed(walked)) return walked
    const { qids, node, parent } = walked
    if (qids.length < names.length) return { qids }
    if (same) fids.replace(fid, node, parent)
    else {
      const added = fids.add(newfid, node, parent)
      if (failed(added)) return added
    }
    return { qids }
  },
})

/** Tclunk: the client forgets a fid. */
export const tclunk = message({
  type: 120,
  name: 'Tclunk',
  request: { fid: 'u32' },
  reply: {},
  serve({ fids }, { fid: number }) {
    const fid = fids.get(number)
    if (failed(fid)) return fid
    fids.remove(fid)
    return {}
  },
})
