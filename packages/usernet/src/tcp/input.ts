/** What a connection does with a segment, step by step as RFC 9293, section 3.10.7 has it, with RFC 5961's checks. */
import {
  forgetRetries, halfFlight, measure, outEnd, output, resend, sendAck, sendSyn, setTimer,
} from './output.ts'
import { before, distance, FLAG, later, plus, upTo, type Segment } from './segment.ts'
import { isOpening, OUR_MSS, STATE, TIME_WAIT, type Tcb, type TcpContext } from './tcb.ts'

/** What a segment brought, for whoever uses the connection. */
export interface Progress {
  readonly established: boolean
  /** Data, or the end of it. */
  readonly readable: boolean
  /** Data was acknowledged. */
  readonly writable: boolean
}

/** Smallest segment size that is taken over: a peer that asks for tiny ones would make us send them by the thousand. */
const LEAST_MSS = 64

/** Segments of a new connection's first flight (RFC 6928). */
const INITIAL_WINDOW = 10

/** Takes over what a SYN says. */
export function acceptSyn(tcb: Tcb, segment: Segment): void {
  tcb.irs = segment.seq
  tcb.rcvNxt = plus(segment.seq, 1)
  tcb.told = tcb.rcvNxt
  tcb.mss = Math.min(OUR_MSS, Math.max(LEAST_MSS, segment.mss ?? tcb.mss))
  tcb.cwnd = INITIAL_WINDOW * tcb.mss
  takeWindow(tcb, segment)
}

function takeWindow(tcb: Tcb, { seq, ack, window }: Segment): void {
  tcb.window = window
  tcb.maxWindow = Math.max(tcb.maxWindow, window)
  tcb.wl1 = seq
  tcb.wl2 = ack
}

const lengthOf = ({ data, flags }: Segment): number =>
  data.length + ((flags & FLAG.SYN) === 0 ? 0 : 1) + ((flags & FLAG.FIN) === 0 ? 0 : 1)

/** Section 3.4: whether any of a segment lies in the window. */
function isAcceptable(tcb: Tcb, segment: Segment): boolean {
  const window = tcb.in.limit - tcb.in.length()
  const length = lengthOf(segment)
  const start = distance(segment.seq, tcb.rcvNxt)
  if (length === 0) return window === 0 ? start === 0 : start >= 0 && start < window
  if (window === 0) return false
  return start < window && start + length > 0
}

const has = (segment: Segment, flag: number): boolean => (segment.flags & flag) !== 0

function establish(ctx: TcpContext, tcb: Tcb, segment: Segment): void {
  tcb.una = segment.ack
  tcb.state = tcb.ending ? STATE.FIN_WAIT_1 : STATE.ESTABLISHED
  if (tcb.retries === 0 && tcb.timedSince >= 0) measure(tcb, ctx.now() - tcb.timedSince)
  tcb.timedSince = -1
  forgetRetries(tcb)
  takeWindow(tcb, segment)
  setTimer(ctx, tcb, 'none')
}

/** Section 3.10.7.3. */
function inSynSent(ctx: TcpContext, tcb: Tcb, segment: Segment): boolean {
  const ackIsRight = has(segment, FLAG.ACK) && segment.ack === tcb.nxt
  if (has(segment, FLAG.ACK) && !ackIsRight) return false
  if (has(segment, FLAG.RST)) {
    if (ackIsRight) ctx.closed(tcb, 'reset')
    return false
  }
  if (!has(segment, FLAG.SYN)) return false
  acceptSyn(tcb, segment)
  if (ackIsRight) {
    establish(ctx, tcb, segment)
    tcb.ackDue = true
    output(ctx, tcb)
    return true
  }
  // both sides opened at once
  tcb.state = STATE.SYN_RECEIVED
  sendSyn(ctx, tcb)
  return false
}

/** RFC 5681, section 3.2, and RFC 6582: the third acknowledgement of one byte says that a segment is lost. */
function onDuplicate(ctx: TcpContext, tcb: Tcb): void {
  tcb.dupAcks += 1
  if (tcb.recovering) tcb.cwnd += tcb.mss
  else if (tcb.dupAcks === 3) {
    tcb.ssthresh = halfFlight(tcb)
    tcb.recover = tcb.max
    tcb.recovering = true
    tcb.cwnd = tcb.ssthresh + 3 * tcb.mss
    resend(ctx, tcb)
  }
}

const MOST_CWND = 2 ** 20

function growWindow(ctx: TcpContext, tcb: Tcb, acked: number): void {
  if (!tcb.recovering) {
    const step = tcb.cwnd < tcb.ssthresh ? Math.min(acked, tcb.mss) : Math.ceil(tcb.mss * tcb.mss / tcb.cwnd)
    tcb.cwnd = Math.min(MOST_CWND, tcb.cwnd + step)
  } else if (before(tcb.una, tcb.recover)) {
    tcb.cwnd = Math.max(tcb.mss, tcb.cwnd - acked + tcb.mss)
    resend(ctx, tcb)
  } else {
    tcb.recovering = false
    tcb.cwnd = tcb.ssthresh
  }
  tcb.dupAcks = 0
}

/** New data is acknowledged; answers whether that includes our FIN. */
function advance(ctx: TcpContext, tcb: Tcb, ack: number): boolean {
  const acked = distance(ack, tcb.una)
  const finAcked = tcb.ending && ack === plus(outEnd(tcb), 1)
  tcb.out.drop(acked)
  tcb.una = ack
  tcb.nxt = later(tcb.nxt, ack)
  if (tcb.timedSince >= 0 && before(tcb.timedSeq, ack)) {
    measure(tcb, ctx.now() - tcb.timedSince)
    tcb.timedSince = -1
  }
  forgetRetries(tcb)
  growWindow(ctx, tcb, acked)
  // RFC 6298, section 5.2 and 5.3: what is still on the way gets a full wait
  setTimer(ctx, tcb, tcb.una === tcb.max ? 'none' : 'retransmit', tcb.rto)
  return finAcked
}

function onFinAcked(ctx: TcpContext, tcb: Tcb): void {
  if (tcb.state === STATE.FIN_WAIT_1) tcb.state = STATE.FIN_WAIT_2
  else if (tcb.state === STATE.CLOSING) enterTimeWait(ctx, tcb)
  else if (tcb.state === STATE.LAST_ACK) ctx.closed(tcb, 'closed')
}

function enterTimeWait(ctx: TcpContext, tcb: Tcb): void {
  tcb.state = STATE.TIME_WAIT
  setTimer(ctx, tcb, 'timeWait', TIME_WAIT)
}

/** Fifth step: the ACK field. Undefined when the segment is to be dropped, else whether data was acknowledged. */
function onAck(ctx: TcpContext, tcb: Tcb, segment: Segment): boolean | undefined {
  const { ack, seq, window } = segment
  // RFC 5961, section 5.2
  if (before(tcb.max, ack) || before(ack, plus(tcb.una, -tcb.maxWindow))) {
    sendAck(ctx, tcb)
    return undefined
  }
  const isNew = before(tcb.una, ack)
  const isDuplicate = ack === tcb.una && segment.data.length === 0 && window === tcb.window && tcb.una !== tcb.max
    && !has(segment, FLAG.FIN)
  const isUpdate = before(tcb.wl1, seq) || (tcb.wl1 === seq && upTo(tcb.wl2, ack))
  if (isUpdate && upTo(tcb.una, ack)) takeWindow(tcb, segment)
  if (isDuplicate) {
    // an answer to a probe of a closed window is no sign of loss
    if (tcb.timer === 'persist') tcb.retries = 0
    else onDuplicate(ctx, tcb)
  }
  if (isNew && advance(ctx, tcb, ack)) onFinAcked(ctx, tcb)
  return isNew
}

/** Sixth and seventh step: data and FIN. Answers whether there is something new to read. */
function onText(tcb: Tcb, segment: Segment): boolean {
  const isOpen = tcb.state === STATE.ESTABLISHED || tcb.state === STATE.FIN_WAIT_1 || tcb.state === STATE.FIN_WAIT_2
  if (!isOpen) return false
  const end = plus(segment.seq, segment.data.length)
  const window = tcb.in.limit - tcb.in.length()
  const ahead = distance(end, tcb.rcvNxt)
  if (has(segment, FLAG.FIN) && tcb.finAt < 0 && ahead >= 0 && ahead <= window) tcb.finAt = end
  const limit = tcb.finAt < 0 ? window : Math.min(window, distance(tcb.finAt, tcb.rcvNxt))
  const skip = Math.max(0, distance(tcb.rcvNxt, segment.seq))
  const start = plus(segment.seq, skip)
  const data = segment.data.subarray(skip, Math.max(skip, skip + limit - distance(start, tcb.rcvNxt)))
  const had = tcb.rcvNxt
  if (start !== had) {
    if (data.length > 0) tcb.gaps.add(start, data)
    return false
  }
  tcb.rcvNxt = plus(tcb.rcvNxt, tcb.in.push(data))
  for (let next = tcb.gaps.take(tcb.rcvNxt); next !== undefined; next = tcb.gaps.take(tcb.rcvNxt)) {
    tcb.rcvNxt = plus(tcb.rcvNxt, tcb.in.push(next))
  }
  return tcb.rcvNxt !== had
}

/** Eighth step: the other side's FIN has its turn. */
function onFin(ctx: TcpContext, tcb: Tcb): boolean {
  if (tcb.finAt < 0 || tcb.rcvNxt !== tcb.finAt) return false
  if (tcb.state === STATE.ESTABLISHED) tcb.state = STATE.CLOSE_WAIT
  else if (tcb.state === STATE.FIN_WAIT_1) tcb.state = STATE.CLOSING
  else if (tcb.state === STATE.FIN_WAIT_2) enterTimeWait(ctx, tcb)
  else return false
  tcb.rcvNxt = plus(tcb.rcvNxt, 1)
  tcb.gaps.clear()
  return true
}

const nothing: Progress = { established: false, readable: false, writable: false }

/** A segment that lies outside of the window. */
function onUnacceptable(ctx: TcpContext, tcb: Tcb, segment: Segment): Progress {
  if (has(segment, FLAG.RST)) return nothing
  if (tcb.state === STATE.SYN_RECEIVED && has(segment, FLAG.SYN) && segment.seq === tcb.irs) {
    sendSyn(ctx, tcb)
    return nothing
  }
  if (tcb.state === STATE.TIME_WAIT) setTimer(ctx, tcb, 'timeWait', TIME_WAIT)
  sendAck(ctx, tcb)
  // section 3.10.7.4: when the window is closed, acknowledgements count nevertheless
  const counts = has(segment, FLAG.ACK) && !has(segment, FLAG.SYN) && segment.seq === tcb.rcvNxt && !isOpening(tcb)
  const acked = counts && onAck(ctx, tcb, segment) === true
  output(ctx, tcb)
  return { ...nothing, writable: acked }
}

/** RST and SYN inside of the window: RFC 5961, sections 3.2 and 4.2. Answers whether the segment is dealt with. */
function onControl(ctx: TcpContext, tcb: Tcb, segment: Segment): boolean {
  if (has(segment, FLAG.RST)) {
    if (segment.seq === tcb.rcvNxt) ctx.closed(tcb, 'reset')
    else sendAck(ctx, tcb)
    return true
  }
  if (has(segment, FLAG.SYN)) {
    sendAck(ctx, tcb)
    return true
  }
  return !has(segment, FLAG.ACK)
}

/** Serves a segment of a connection. An acknowledgement that is due is sent by the caller, if no data carries it. */
export function onSegment(ctx: TcpContext, tcb: Tcb, segment: Segment): Progress {
  if (tcb.state === STATE.SYN_SENT) {
    const established = inSynSent(ctx, tcb, segment)
    return { ...nothing, established, writable: established }
  }
  if (!isAcceptable(tcb, segment)) return onUnacceptable(ctx, tcb, segment)
  if (onControl(ctx, tcb, segment)) return nothing
  let established = false
  if (tcb.state === STATE.SYN_RECEIVED) {
    if (segment.ack !== tcb.max) {
      ctx.send(tcb, { seq: segment.ack, ack: 0, flags: FLAG.RST, window: 0, data: new Uint8Array() })
      return nothing
    }
    establish(ctx, tcb, segment)
    established = true
  }
  const acked = onAck(ctx, tcb, segment)
  if (acked === undefined) return nothing
  const readable = onText(tcb, segment)
  const ended = onFin(ctx, tcb)
  tcb.ackDue ||= lengthOf(segment) > 0
  output(ctx, tcb)
  return { established, readable: readable || ended, writable: acked || established }
}
