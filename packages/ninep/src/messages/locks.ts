/**
 * Record locks: Tlock, Tgetlock. The client's kernel settles them between its own processes before it asks, and there
 * is no other client, so every lock is granted. Programs of the host are not kept out.
 */
import { failed } from '../errno.ts'
import { message } from '../message.ts'

const GRANTED = 0
/** F_UNLCK: nothing stands in the way. */
const UNLOCKED = 2

export const tlock = message({
  type: 52,
  name: 'Tlock',
  request: {
    fid: 'u32', type: 'u8', flags: 'u32', start: 'u64', length: 'u64', process: 'u32', client: 'text',
  },
  reply: { status: 'u8' },
  serve({ fids }, { fid: number }) {
    const fid = fids.get(number)
    return failed(fid) ? fid : { status: GRANTED }
  },
})

export const tgetlock = message({
  type: 54,
  name: 'Tgetlock',
  request: { fid: 'u32', type: 'u8', start: 'u64', length: 'u64', process: 'u32', client: 'text' },
  reply: { type: 'u8', start: 'u64', length: 'u64', process: 'u32', client: 'text' },
  serve({ fids }, { fid: number, start, length, process, client }) {
    const fid = fids.get(number)
    return failed(fid) ? fid : { type: UNLOCKED, start, length, process, client }
  },
})
