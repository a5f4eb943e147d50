/** Ports of this host's loopback that lead to ports of the guest. The only way from outside to a guest's network. */
import { createServer, type Server, type Socket } from 'node:net'
import { inputError, plainReason } from '../errors.ts'
import type { Gateway } from '../machine-port.ts'
import type { ForwardArgument } from './parse-net.ts'

/** The open ports. */
export interface Forwards {
  /** Whether there are any. */
  readonly any: boolean
  /** Connections go to this machine from now on; those to the one before are cut. */
  attach(gateway: Gateway): void
  /** Whether something has come from outside since the last call. */
  stirred(): boolean
  /** Has a function called whenever something comes. */
  onStir(wake: () => void): void
  close(): void
}

/** What is taken from a connection at once. */
const chunk = 65_536
/** Connections to one port at once. */
const mostConnections = 32

/** Moves bytes between a socket and a connection to the guest, each as fast as the other takes them. */
const join = (socket: Socket, gateway: Gateway, port: number, stir: () => void): void => {
  let waiting: Uint8Array = new Uint8Array(0)
  let hostEnded = false
  const connection = gateway.connect(port, (guest) => {
    const toHost = (): void => {
      while (guest.readable() > 0 && !socket.writableNeedDrain && !socket.destroyed) socket.write(guest.read(chunk))
      if (guest.ended()) socket.end()
    }
    const toGuest = (): void => {
      waiting = waiting.subarray(guest.write(waiting))
      if (waiting.length > 0) return
      socket.resume()
      if (hostEnded) guest.end()
    }
    socket.on('drain', () => {
      toHost()
      stir()
    })
    return {
      onReadable: toHost,
      onWritable: toGuest,
      onClosed: (reason) => (reason === 'closed' ? socket.end() : socket.resetAndDestroy()),
    }
  })
  if (connection === undefined) {
    socket.resetAndDestroy()
    return
  }
  socket.on('data', (bytes: Uint8Array) => {
    waiting = bytes.subarray(connection.write(bytes))
    if (waiting.length > 0) socket.pause()
    stir()
  })
  socket.on('end', () => {
    hostEnded = true
    if (waiting.length === 0) connection.end()
    stir()
  })
  socket.on('close', () => {
    // a connection that has ended in both directions is gone by then, and aborting it does nothing
    if (!connection.ended() || !hostEnded) connection.abort()
    stir()
  })
}

const listen = (server: Server, { host, port }: ForwardArgument): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once('error', (error) => {
      reject(inputError(`forward ${host}:${port}`, plainReason(error), 'a port that is free'))
    })
    server.listen({ host, port, exclusive: true }, () => {
      server.removeAllListeners('error')
      resolve()
    })
  })

/**
 * Opens ports.
 * @param say - hears which port was taken for port 0
 * @throws an input error that names the port
 */
export const openForwards = async (
  list: readonly ForwardArgument[], say: (text: string) => void,
): Promise<Forwards> => {
  const sockets = new Set<Socket>()
  const servers: Server[] = []
  let gateway: Gateway | undefined
  let stirred = false
  let wake: (() => void) | undefined
  const stir = (): void => {
    stirred = true
    wake?.()
  }
  const accept = (socket: Socket, port: number): void => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    // what goes wrong with a socket closes it
    socket.on('error', () => undefined)
    socket.setNoDelay(true)
    if (gateway === undefined) socket.destroy()
    else join(socket, gateway, port, stir)
    stir()
  }
  const close = (): void => {
    for (const server of servers) server.close()
    for (const socket of sockets) socket.destroy()
  }
  for (const forward of list) {
    const server = createServer({ allowHalfOpen: true }, (socket) => accept(socket, forward.guestPort))
    server.maxConnections = mostConnections
    servers.push(server)
    try {
      await listen(server, forward)
    } catch (error) {
      close()
      throw error
    }
    const taken = server.address()
    if (forward.port !== 0 || taken === null || typeof taken === 'string') continue
    say(`port ${taken.port} of ${forward.host} leads to port ${forward.guestPort} of the guest`)
  }
  return {
    any: list.length > 0,
    attach: (next) => {
      for (const socket of sockets) socket.resetAndDestroy()
      gateway = next
    },
    stirred: () => {
      const was = stirred
      stirred = false
      return was
    },
    onStir: (given) => {
      wake = given
    },
    close,
  }
}
