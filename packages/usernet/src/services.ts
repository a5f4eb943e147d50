/** What the gateway itself offers. */
import type { TcpService } from './tcp/stack.ts'

/** TCP and UDP echo (RFC 862). */
export const ECHO_PORT = 7

const CHUNK = 16_384

/** Sends back what comes, as fast as it is taken. */
export const echoService: TcpService = {
  stateless: true,
  open(connection) {
    const pump = (): void => {
      while (connection.readable() > 0 && connection.room() > 0) {
        connection.write(connection.read(Math.min(CHUNK, connection.room())))
      }
      if (connection.ended()) connection.end()
    }
    return { onReadable: pump, onWritable: pump }
  },
}
