/** The state of one connection (RFC 9293, section 3.3.1: the transmission control block). */
import { createGaps, type Gaps } from './gaps.ts'
import { createByteQueue, type ByteQueue } from './queue.ts'
import type { Segment } from './segment.ts'

/** States of section 3.3.2, but for LISTEN, which is a service. */
export const STATE = {
  SYN_SENT: 'SYN-SENT', SYN_RECEIVED: 'SYN-RECEIVED', ESTABLISHED: 'ESTABLISHED', FIN_WAIT_1: 'FIN-WAIT-1',
  FIN_WAIT_2: 'FIN-WAIT-2', CLOSE_WAIT: 'CLOSE-WAIT', CLOSING: 'CLOSING', LAST_ACK: 'LAST-ACK', TIME_WAIT: 'TIME-WAIT',
  CLOSED: 'CLOSED',
} as const

export type State = typeof STATE[keyof typeof STATE]

/** What the one timer of a connection is for. */
export type TimerUse = 'none' | 'retransmit' | 'persist' | 'timeWait'

/** Numbers of a connection, as a snapshot has them. */
export interface TcbNumbers {
  localPort: number
  /** The address of the other end. */
  remote: number
  remotePort: number
  state: State
  /** Initial sequence numbers of both sides. */
  iss: number
  irs: number
  /** First byte that is not acknowledged; next byte to send; end of what was ever sent. */
  una: number
  nxt: number
  max: number
  /** What the other side takes, the most that it ever took, and the segment that said so last. */
  window: number
  maxWindow: number
  wl1: number
  wl2: number
  /** Next byte that is expected, and the end of the window that was told. */
  rcvNxt: number
  told: number
  /** Something came that is to be acknowledged, by data or without. */
  ackDue: boolean
  mss: number
  /** `end` was called: a FIN follows the data. */
  ending: boolean
  /** Where the other side's FIN is; −1 when none has come. */
  finAt: number
  timer: TimerUse
  due: number
  /** Nanoseconds; smoothed times are −1 before the first measurement (RFC 6298). */
  rto: number
  srtt: number
  rttvar: number
  retries: number
  /** The byte whose acknowledgement is timed, and since when; −1: none. */
  timedSeq: number
  timedSince: number
  /** Congestion control (RFC 5681, RFC 6582). */
  cwnd: number
  ssthresh: number
  dupAcks: number
  recovering: boolean
  recover: number
}

/** A connection: its numbers, and its bytes. */
export interface Tcb extends TcbNumbers {
  readonly out: ByteQueue
  readonly in: ByteQueue
  readonly gaps: Gaps
}

/** What the functions of a connection use. */
export interface TcpContext {
  /** Nanoseconds of virtual time. */
  now(): number
  /** Sends a segment of the connection, with its ports filled in. */
  send(tcb: Tcb, segment: Pick<Segment, 'seq' | 'ack' | 'flags' | 'window' | 'data'> & { readonly mss?: number }): void
  /** The connection's timer has changed. */
  armed(tcb: Tcb): void
  /** The connection is no more: its state becomes CLOSED. */
  closed(tcb: Tcb, reason: CloseReason): void
}

/** How a connection ended: by both sides, by an RST, or because nothing came back. */
export type CloseReason = 'closed' | 'reset' | 'timeout'

/** Bytes that wait on each side; the window that is told is at most the latter. */
export const SEND_LIMIT = 65_536
export const RECEIVE_LIMIT = 65_535

/** RFC 9293, section 3.7.1: what is sent to a side that names no size. */
export const DEFAULT_MSS = 536
/** What an Ethernet frame carries. */
export const OUR_MSS = 1460

export const SECOND = 1e9
/** RFC 6298, section 2.1. */
export const FIRST_RTO = SECOND
/** Below the RFC's second, as Linux has it: the other end is in the same process. */
export const LEAST_RTO = 0.2 * SECOND
export const MOST_RTO = 60 * SECOND
/** Twice the maximum segment lifetime, as Linux has it. */
export const TIME_WAIT = 60 * SECOND

/** A connection before its first segment. */
export function createTcb(localPort: number, remote: number, remotePort: number, iss: number, state: State): Tcb {
  return {
    localPort, remote, remotePort, state, iss, irs: 0, una: iss, nxt: iss, max: iss,
    window: 0, maxWindow: 0, wl1: 0, wl2: 0, rcvNxt: 0, told: 0, ackDue: false, mss: DEFAULT_MSS,
    ending: false, finAt: -1,
    timer: 'none', due: 0, rto: FIRST_RTO, srtt: -1, rttvar: 0, retries: 0, timedSeq: 0, timedSince: -1,
    cwnd: 0, ssthresh: 2 ** 30, dupAcks: 0, recovering: false, recover: 0,
    out: createByteQueue(SEND_LIMIT), in: createByteQueue(RECEIVE_LIMIT), gaps: createGaps(),
  }
}

/** The SYN is not acknowledged yet. */
export const isOpening = ({ state }: TcbNumbers): boolean => state === STATE.SYN_SENT || state === STATE.SYN_RECEIVED

/** Nothing more will be received from the other side. */
export const isEnded = ({ state }: TcbNumbers): boolean =>
  state === STATE.CLOSE_WAIT || state === STATE.LAST_ACK || state === STATE.CLOSING || state === STATE.TIME_WAIT
  || state === STATE.CLOSED
