/** What a connection sends, and when it sends it again (RFC 9293, section 3.8; RFC 6298; RFC 5681). */
import { distance, FLAG, later, plus } from './segment.ts'
import {
  FIRST_RTO, isOpening, LEAST_RTO, MOST_RTO, OUR_MSS, STATE, type Tcb, type TcpContext, type TimerUse,
} from './tcb.ts'

const none = new Uint8Array()

/** Attempts before a connection is given up: about ten minutes; a SYN about two. */
const MOST_RETRIES = 15
const MOST_SYN_RETRIES = 6

/** Sequence number of the first byte that waits in `out`. */
const outStart = (tcb: Tcb): number => (isOpening(tcb) ? plus(tcb.iss, 1) : tcb.una)
/** Sequence number after the last byte that waits: that of the FIN. */
export const outEnd = (tcb: Tcb): number => plus(outStart(tcb), tcb.out.length())

/** The window that the other side knows of. */
const toldWindow = (tcb: Tcb): number => Math.max(0, distance(tcb.told, tcb.rcvNxt))

const roomOf = (tcb: Tcb): number => tcb.in.limit - tcb.in.length()

/** The window to tell: what there is room for, but no small steps (section 3.8.6.2.2). */
function windowOf(tcb: Tcb): number {
  const told = toldWindow(tcb)
  return roomOf(tcb) - told >= OUR_MSS ? roomOf(tcb) : told
}

/** Sends one segment. Every one but the first SYN acknowledges. */
function send(ctx: TcpContext, tcb: Tcb, seq: number, flags: number, data: Uint8Array = none): void {
  const window = windowOf(tcb)
  const isSyn = (flags & FLAG.SYN) !== 0
  if ((flags & FLAG.ACK) !== 0) Object.assign(tcb, { told: plus(tcb.rcvNxt, window), ackDue: false })
  ctx.send(tcb, { seq, ack: tcb.rcvNxt, flags, window, data, ...(isSyn && { mss: OUR_MSS }) })
}

/** An acknowledgement without data. */
export const sendAck = (ctx: TcpContext, tcb: Tcb): void => { send(ctx, tcb, tcb.nxt, FLAG.ACK) }

/** Something was read: the other side is told of the room when it has little left. */
export function updateWindow(ctx: TcpContext, tcb: Tcb): void {
  const told = toldWindow(tcb)
  if (told < tcb.in.limit / 2 && roomOf(tcb) - told >= tcb.in.limit / 4) sendAck(ctx, tcb)
}

/** Ends the connection for both sides at once. */
export const sendReset = (ctx: TcpContext, tcb: Tcb): void => { send(ctx, tcb, tcb.nxt, FLAG.RST | FLAG.ACK) }

/** The SYN of either side; again when it was lost. */
export function sendSyn(ctx: TcpContext, tcb: Tcb): void {
  send(ctx, tcb, tcb.iss, tcb.state === STATE.SYN_SENT ? FLAG.SYN : FLAG.SYN | FLAG.ACK)
  tcb.nxt = plus(tcb.iss, 1)
  tcb.max = tcb.nxt
  tcb.timedSince = tcb.retries === 0 ? ctx.now() : -1
  setTimer(ctx, tcb, 'retransmit', tcb.rto)
}

export function setTimer(ctx: TcpContext, tcb: Tcb, use: TimerUse, delay = 0): void {
  tcb.timer = use
  tcb.due = use === 'none' ? 0 : ctx.now() + delay
  if (use !== 'none') ctx.armed(tcb)
}

/** Whether a segment of `length` is worth sending now (section 3.8.6.2.2, without Nagle's delay). */
const isWorth = (tcb: Tcb, length: number, waiting: number): boolean =>
  length >= tcb.mss || length === waiting || length >= tcb.maxWindow / 2

/** The next segment that may be sent: its length and whether it is the FIN; undefined for none. */
function nextSegment(tcb: Tcb): { readonly length: number, readonly fin: boolean } | undefined {
  const waiting = distance(outEnd(tcb), tcb.nxt)
  // below 0: the FIN is sent already
  if (waiting < 0) return undefined
  const usable = Math.min(tcb.window, tcb.cwnd) - distance(tcb.nxt, tcb.una)
  const length = Math.min(waiting, tcb.mss, Math.max(0, usable))
  const fin = tcb.ending && length === waiting
  if (fin) return { length, fin }
  return length > 0 && isWorth(tcb, length, waiting) ? { length, fin } : undefined
}

/** The FIN is acknowledged: there is nothing more to send. */
const isDone = ({ state }: Tcb): boolean =>
  state === STATE.FIN_WAIT_2 || state === STATE.TIME_WAIT || state === STATE.CLOSED

/** Sends whatever may be sent. */
export function output(ctx: TcpContext, tcb: Tcb): void {
  if (isOpening(tcb) || isDone(tcb)) return
  for (let next = nextSegment(tcb); next !== undefined; next = nextSegment(tcb)) {
    const { length, fin } = next
    const data = tcb.out.peek(distance(tcb.nxt, outStart(tcb)), length)
    const push = length > 0 && plus(tcb.nxt, length) === outEnd(tcb) ? FLAG.PSH : 0
    if (tcb.timedSince < 0 && tcb.nxt === tcb.max) Object.assign(tcb, { timedSeq: tcb.nxt, timedSince: ctx.now() })
    send(ctx, tcb, tcb.nxt, FLAG.ACK | push | (fin ? FLAG.FIN : 0), data)
    tcb.nxt = plus(tcb.nxt, length + (fin ? 1 : 0))
    tcb.max = later(tcb.max, tcb.nxt)
  }
  settleTimer(ctx, tcb)
}

/** The timer that the connection needs: one that runs already for that goes on. */
function settleTimer(ctx: TcpContext, tcb: Tcb): void {
  const inFlight = tcb.nxt !== tcb.una
  const use: TimerUse = inFlight ? 'retransmit' : tcb.out.length() > 0 ? 'persist' : 'none'
  if (tcb.timer === use) return
  if (tcb.timer === 'persist') tcb.rto = calmRto(tcb)
  setTimer(ctx, tcb, use, tcb.rto)
}

/** The time to wait when nothing was lost. */
const calmRto = ({ srtt, rttvar }: Tcb): number =>
  (srtt < 0 ? FIRST_RTO : Math.min(MOST_RTO, Math.max(LEAST_RTO, srtt + 4 * rttvar)))

/** Sends the first segment that is not acknowledged once more. */
export function resend(ctx: TcpContext, tcb: Tcb): void {
  const length = Math.min(tcb.out.length(), tcb.mss)
  const fin = tcb.ending && length === tcb.out.length() && tcb.max === plus(outEnd(tcb), 1)
  tcb.timedSince = -1
  send(ctx, tcb, tcb.una, FLAG.ACK | (fin ? FLAG.FIN : 0), tcb.out.peek(0, length))
}

/** Half of what is on the way, and at least two segments (RFC 5681, section 3.1, equation 4). */
export const halfFlight = (tcb: Tcb): number => Math.max(Math.floor(distance(tcb.max, tcb.una) / 2), 2 * tcb.mss)

/** Nothing was acknowledged in time: RFC 6298, section 5, and RFC 5681, section 3.1. */
function onRetransmit(ctx: TcpContext, tcb: Tcb): void {
  tcb.rto = Math.min(2 * tcb.rto, MOST_RTO)
  tcb.timedSince = -1
  if (isOpening(tcb)) {
    sendSyn(ctx, tcb)
    return
  }
  tcb.ssthresh = halfFlight(tcb)
  tcb.cwnd = tcb.mss
  tcb.recovering = false
  tcb.dupAcks = 0
  tcb.nxt = tcb.una
  tcb.timer = 'none'
  output(ctx, tcb)
}

/** The window is closed: a byte shows whether it still is (RFC 9293, section 3.8.6.1). */
function onPersist(ctx: TcpContext, tcb: Tcb): void {
  tcb.rto = Math.min(2 * tcb.rto, MOST_RTO)
  send(ctx, tcb, tcb.una, FLAG.ACK, tcb.out.peek(0, 1))
  tcb.max = later(tcb.max, plus(tcb.una, 1))
  setTimer(ctx, tcb, 'persist', tcb.rto)
}

/** The connection's timer has come. */
export function onTimer(ctx: TcpContext, tcb: Tcb): void {
  if (tcb.timer === 'timeWait') {
    ctx.closed(tcb, 'closed')
    return
  }
  tcb.retries += 1
  if (tcb.retries > (isOpening(tcb) ? MOST_SYN_RETRIES : MOST_RETRIES)) {
    sendReset(ctx, tcb)
    ctx.closed(tcb, 'timeout')
  } else if (tcb.timer === 'persist') onPersist(ctx, tcb)
  else onRetransmit(ctx, tcb)
}

/** A measured round trip: RFC 6298, section 2. */
export function measure(tcb: Tcb, time: number): void {
  if (tcb.srtt < 0) {
    tcb.srtt = time
    tcb.rttvar = Math.floor(time / 2)
  } else {
    tcb.rttvar = Math.floor((3 * tcb.rttvar + Math.abs(tcb.srtt - time)) / 4)
    tcb.srtt = Math.floor((7 * tcb.srtt + time) / 8)
  }
  tcb.rto = calmRto(tcb)
}

/** Something came back: waiting starts anew without a backoff. */
export function forgetRetries(tcb: Tcb): void {
  if (tcb.retries === 0) return
  tcb.retries = 0
  tcb.rto = calmRto(tcb)
}
