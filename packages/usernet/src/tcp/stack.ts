/** All connections of one address: which segment belongs to which, who opens, and whose timer is next. */
import { acceptSyn, onSegment, type Progress } from './input.ts'
import { onTimer, output, sendAck, sendReset, sendSyn, updateWindow } from './output.ts'
import { checkSaved, saveTcb } from './saved.ts'
import { before, buildSegment, FLAG, parseSegment, plus, type Segment } from './segment.ts'
import {
  createTcb, isEnded, isOpening, STATE, type CloseReason, type Tcb, type TcbNumbers, type TcpContext,
} from './tcb.ts'

/** One connection, as a service sees it. */
export interface TcpConnection {
  /** Port of this side. */
  readonly localPort: number
  /** Address and port of the other side. */
  readonly remote: number
  readonly remotePort: number
  /** Bytes that can be read. */
  readable(): number
  /** Takes up to `most` of the bytes that have come. */
  read(most: number): Uint8Array
  /** The other side has ended, and all that it sent is read. */
  ended(): boolean
  /** Bytes that `write` would take. */
  room(): number
  /** Sends as many of the bytes as there is room for; answers how many. */
  write(bytes: Uint8Array): number
  /** No more is written. The other side may go on. */
  end(): void
  /** Ends both directions at once, by RST. */
  abort(): void
}

/** What happens on a connection. */
export interface TcpHandlers {
  onOpen?(): void
  /** There are bytes to read, or the other side has ended. */
  onReadable(): void
  /** There is room again. */
  onWritable(): void
  /** The last that is heard of the connection. */
  onClosed?(reason: CloseReason): void
}

/** Who answers at a port. */
export interface TcpService {
  /** Takes a connection. */
  open(connection: TcpConnection): TcpHandlers
  /** It keeps nothing of its own about a connection: after a restore it is opened again and goes on. Default false. */
  readonly stateless?: boolean
}

/** Options of {@link createTcp}. */
export interface TcpOptions {
  readonly address: number
  readonly now: () => number
  /** A random number of 32 bits, for initial sequence numbers. */
  readonly random32: () => number
  readonly send: (destination: number, bytes: Uint8Array) => void
  /** The time of the earliest timer may have changed. */
  readonly armed: () => void
  readonly services: ReadonlyMap<number, TcpService>
}

/** The connections. */
export interface Tcp {
  input(source: number, bytes: Uint8Array): void
  /** Opens a connection; undefined when there are too many. */
  connect(remote: number, port: number, open: (connection: TcpConnection) => TcpHandlers): TcpConnection | undefined
  /** Time of the earliest timer, `Infinity` for none. */
  next(): number
  /** Serves timers that are due. */
  advance(): void
  count(): number
  /** Forgets all connections; the other side is told nothing. */
  clear(): void
  snapshot(): object
  /** Answers how many connections could not be kept, or undefined when the data is none. */
  restore(saved: unknown): number | undefined
}

/** Connections at once, each with up to 128 KiB in its buffers. */
const MOST = 128
const FIRST_PORT = 49_152

interface Entry {
  readonly tcb: Tcb
  handlers: TcpHandlers | undefined
}

const keyOf = (localPort: number, remote: number, remotePort: number): string => `${localPort}:${remote}:${remotePort}`

// a handler may have ended it
const isClosed = ({ state }: TcbNumbers): boolean => state === STATE.CLOSED

/** Creates an address without connections. */
export function createTcp(options: TcpOptions): Tcp {
  const { address, services } = options
  const entries = new Map<string, Entry>()
  let nextPort = FIRST_PORT

  const keyOfTcb = (tcb: TcbNumbers): string => keyOf(tcb.localPort, tcb.remote, tcb.remotePort)
  const ctx: TcpContext = {
    now: options.now,
    send(tcb, segment) {
      const full = { ...segment, sourcePort: tcb.localPort, destinationPort: tcb.remotePort }
      options.send(tcb.remote, buildSegment(address, tcb.remote, full))
    },
    armed: () => options.armed(),
    closed(tcb, reason) {
      if (tcb.state === STATE.CLOSED) return
      tcb.state = STATE.CLOSED
      tcb.timer = 'none'
      const key = keyOfTcb(tcb)
      const entry = entries.get(key)
      if (entry?.tcb !== tcb) return
      entries.delete(key)
      entry.handlers?.onClosed?.(reason)
    },
  }

  const connectionOf = (tcb: Tcb): TcpConnection => ({
    localPort: tcb.localPort, remote: tcb.remote, remotePort: tcb.remotePort,
    readable: () => tcb.in.length(),
    read(most) {
      const bytes = tcb.in.peek(0, most)
      tcb.in.drop(bytes.length)
      if (tcb.state === STATE.ESTABLISHED || tcb.state === STATE.FIN_WAIT_1 || tcb.state === STATE.FIN_WAIT_2) {
        updateWindow(ctx, tcb)
      }
      return bytes
    },
    ended: () => isEnded(tcb) && tcb.in.length() === 0,
    room: () => (tcb.ending || tcb.state === STATE.CLOSED ? 0 : tcb.out.limit - tcb.out.length()),
    write(bytes) {
      if (tcb.ending || tcb.state === STATE.CLOSED) return 0
      const taken = tcb.out.push(bytes)
      output(ctx, tcb)
      return taken
    },
    end() {
      if (tcb.ending || tcb.state === STATE.CLOSED) return
      tcb.ending = true
      if (tcb.state === STATE.ESTABLISHED) tcb.state = STATE.FIN_WAIT_1
      else if (tcb.state === STATE.CLOSE_WAIT) tcb.state = STATE.LAST_ACK
      output(ctx, tcb)
    },
    abort() {
      if (tcb.state === STATE.CLOSED) return
      if (tcb.state !== STATE.SYN_SENT && tcb.state !== STATE.TIME_WAIT) sendReset(ctx, tcb)
      ctx.closed(tcb, 'reset')
    },
  })

  /** Makes room for one more: a connection that only waits goes, or one that never came about. */
  const makeRoom = (): boolean => {
    if (entries.size < MOST) return true
    const list = [...entries.values()]
    const victim = list.find(({ tcb }) => tcb.state === STATE.TIME_WAIT)
      ?? list.find(({ tcb }) => tcb.state === STATE.SYN_RECEIVED)
    if (victim === undefined) return false
    ctx.closed(victim.tcb, 'timeout')
    return true
  }
  const add = (tcb: Tcb, open: ((connection: TcpConnection) => TcpHandlers) | undefined): TcpConnection => {
    const connection = connectionOf(tcb)
    const entry: Entry = { tcb, handlers: undefined }
    entries.set(keyOfTcb(tcb), entry)
    entry.handlers = open?.(connection)
    return connection
  }

  /** Section 3.10.7.1: what belongs to no connection is answered by RST. */
  const refuse = (source: number, segment: Segment): void => {
    if ((segment.flags & FLAG.RST) !== 0) return
    const hasAck = (segment.flags & FLAG.ACK) !== 0
    const control = ((segment.flags & FLAG.SYN) === 0 ? 0 : 1) + ((segment.flags & FLAG.FIN) === 0 ? 0 : 1)
    options.send(source, buildSegment(address, source, {
      sourcePort: segment.destinationPort, destinationPort: segment.sourcePort, window: 0, data: new Uint8Array(),
      seq: hasAck ? segment.ack : 0, ack: hasAck ? 0 : plus(segment.seq, segment.data.length + control),
      flags: hasAck ? FLAG.RST : FLAG.RST | FLAG.ACK,
    }))
  }

  /** Section 3.10.7.2: a SYN for a service. */
  const listen = (source: number, segment: Segment): void => {
    const service = services.get(segment.destinationPort)
    const isSyn = (segment.flags & (FLAG.SYN | FLAG.ACK | FLAG.RST)) === FLAG.SYN
    if (service === undefined || !isSyn || !makeRoom()) {
      refuse(source, segment)
      return
    }
    const tcb = createTcb(
      segment.destinationPort, source, segment.sourcePort, options.random32(), STATE.SYN_RECEIVED,
    )
    acceptSyn(tcb, segment)
    add(tcb, undefined)
    sendSyn(ctx, tcb)
  }

  const tell = (entry: Entry, { established, readable, writable }: Progress): void => {
    const { tcb } = entry
    if (tcb.state === STATE.CLOSED) return
    if (established) entry.handlers ??= services.get(tcb.localPort)?.open(connectionOf(tcb))
    if (established) entry.handlers?.onOpen?.()
    if (readable) entry.handlers?.onReadable()
    if (writable && !isOpening(tcb)) entry.handlers?.onWritable()
    if (tcb.ackDue && !isClosed(tcb)) sendAck(ctx, tcb)
  }

  /** A new SYN may reuse a connection that only waits (section 3.6.1). */
  const isReuse = ({ state, rcvNxt }: Tcb, { flags, seq }: Segment): boolean =>
    state === STATE.TIME_WAIT && (flags & (FLAG.SYN | FLAG.ACK | FLAG.RST)) === FLAG.SYN && before(rcvNxt, seq)

  const freePort = (remote: number, port: number): number => {
    for (;;) {
      const candidate = nextPort
      nextPort = nextPort === 65_535 ? FIRST_PORT : nextPort + 1
      if (!entries.has(keyOf(candidate, remote, port))) return candidate
    }
  }

  const isStateless = ({ tcb }: Entry): boolean => services.get(tcb.localPort)?.stateless === true

  return {
    input(source, bytes) {
      const segment = parseSegment(source, address, bytes)
      if (segment === undefined) return
      const entry = entries.get(keyOf(segment.destinationPort, source, segment.sourcePort))
      if (entry !== undefined && isReuse(entry.tcb, segment)) ctx.closed(entry.tcb, 'closed')
      else if (entry !== undefined) {
        tell(entry, onSegment(ctx, entry.tcb, segment))
        return
      }
      listen(source, segment)
    },
    connect(remote, port, open) {
      if (!makeRoom()) return undefined
      const tcb = createTcb(freePort(remote, port), remote, port, options.random32(), STATE.SYN_SENT)
      const connection = add(tcb, open)
      sendSyn(ctx, tcb)
      return connection
    },
    next() {
      let earliest = Infinity
      for (const { tcb } of entries.values()) if (tcb.timer !== 'none') earliest = Math.min(earliest, tcb.due)
      return earliest
    },
    advance() {
      const now = options.now()
      for (const { tcb } of [...entries.values()]) if (tcb.timer !== 'none' && tcb.due <= now) onTimer(ctx, tcb)
    },
    count: () => entries.size,
    clear() {
      for (const { tcb, handlers } of [...entries.values()]) {
        tcb.state = STATE.CLOSED
        handlers?.onClosed?.('reset')
      }
      entries.clear()
    },
    snapshot: () => ({
      nextPort, dropped: [...entries.values()].filter((entry) => !isStateless(entry)).length,
      connections: [...entries.values()].filter(isStateless).map(({ tcb }) => saveTcb(tcb)),
    }),
    restore(saved) {
      const checked = checkSaved(saved, MOST)
      entries.clear()
      if (checked === undefined) return undefined
      nextPort = checked.nextPort
      let dropped = checked.dropped
      for (const tcb of checked.connections) {
        const service = services.get(tcb.localPort)
        if (service?.stateless === true) add(tcb, isOpening(tcb) ? undefined : service.open)
        else dropped += 1
      }
      return dropped
    },
  }
}
