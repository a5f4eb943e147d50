/** A client for tests: messages as records. */
import { decodeReply, encodeRequest, type NinePServer } from '../src/index.ts'

/** Values of a reply, or the error number of an Rlerror. */
export type Reply = Readonly<Record<string, unknown>> & { readonly errno?: number }

export const requestBytes = (name: string, values: Readonly<Record<string, unknown>>, tag = 1): Uint8Array =>
  encodeRequest(name, values as never, tag)

export const readReply = (name: string, bytes: Uint8Array): Reply => decodeReply(name, bytes) as Reply

export interface Client {
  call(name: string, values: Readonly<Record<string, unknown>>, room?: number): Reply
  /** A new fid for a path below the root. */
  walk(path: string): number
  open(path: string, flags?: number): number
  read(path: string): string
  names(path: string): string[]
}

const NOFID = 0xffff_ffff

/** Attaches to a server; fid 0 is the root. */
export const connect = (server: NinePServer, msize = 65_536): Client => {
  let next = 1
  const call: Client['call'] = (name, values, room = 2 ** 20) =>
    readReply(name, server.serve(requestBytes(name, values), room))
  const must = (reply: Reply, about: string): Reply => {
    if (reply.errno !== undefined) {
      throw Object.assign(new Error(`${about}: errno ${reply.errno}`), { errno: reply.errno })
    }
    return reply
  }
  const walk = (path: string): number => {
    const names = path.split('/').filter(Boolean)
    const fid = next++
    must(call('Twalk', { fid: 0, newfid: fid, names: [] }), path)
    for (let at = 0; at < names.length; at += 16) {
      const part = names.slice(at, at + 16)
      const { qids } = must(call('Twalk', { fid, newfid: fid, names: part }), path)
      if ((qids as unknown[]).length < part.length) throw Object.assign(new Error(path), { errno: 2 })
    }
    return fid
  }
  const open = (path: string, flags = 0): number => {
    const fid = walk(path)
    must(call('Tlopen', { fid, flags }), path)
    return fid
  }
  const read = (path: string): string => {
    const fid = open(path)
    let text = ''
    for (let offset = 0n; ; ) {
      const { data } = must(call('Tread', { fid, offset, count: 4096 }), path) as { data: Uint8Array }
      if (data.length === 0) break
      text += new TextDecoder().decode(data)
      offset += BigInt(data.length)
    }
    call('Tclunk', { fid })
    return text
  }
  const names = (path: string): string[] => {
    const fid = open(path)
    const list: string[] = []
    for (let offset = 0n; ; ) {
      const { data } = must(call('Treaddir', { fid, offset, count: 512 }), path) as { data: Uint8Array }
      if (data.length === 0) break
      const view = new DataView(data.buffer, data.byteOffset, data.length)
      for (let at = 0; at < data.length; ) {
        offset = view.getBigUint64(at + 13, true)
        const length = view.getUint16(at + 22, true)
        list.push(new TextDecoder().decode(data.subarray(at + 24, at + 24 + length)))
        at += 24 + length
      }
    }
    call('Tclunk', { fid })
    return list
  }
  must(call('Tversion', { msize, version: '9P2000.L' }), 'version')
  must(call('Tattach', { fid: 0, afid: NOFID, uname: '', aname: '', uid: 0 }), 'attach')
  return { call, walk, open, read, names }
}
