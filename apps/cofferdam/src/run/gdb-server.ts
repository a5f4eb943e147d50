import { createServer, type Server, type Socket } from 'node:net'
import { createGdbStub, interruptStop, type Debuggable, type GdbStop, type GdbStub } from '@cofferdam/machine'
import { inputError, plainReason } from '../errors.ts'
import type { Machine, RunResult } from '../machine-port.ts'

/** Where gdb may connect. */
export interface GdbAddress {
  readonly host: string
  readonly port: number
}

/** A debugger's hold on a session. */
export interface Debugger {
  /** A machine starts (again): it waits for the debugger's word where one is attached or still to come. */
  started(machine: Machine): void
  /** Resolves when the machine may run, or `given up` says so. */
  ready(givenUp: () => boolean): Promise<void>
  /** What became of a slice; answers whether the debugger stopped the machine. */
  after(result: RunResult): boolean
  /** The session ends with this exit code. */
  close(status: number): void
}

// How often a session that waits looks whether it was given up, in milliseconds.
const lookEvery = 50

const isDebuggable = (machine: Machine): machine is Machine & Debuggable =>
  'processors' in machine && 'watch' in machine

const stopOf = (result: RunResult, stub: GdbStub, machine: Machine): GdbStop | undefined => {
  if (result.reason === 'watch') return { kind: 'watch', cpu: result.cpu, watch: result.watch }
  if (!stub.interrupted) return undefined
  return interruptStop(Math.max(0, machine.places().findIndex(({ mode }) => !mode.includes('halted'))))
}

/**
 * Listens for gdb. The machine waits for the first debugger before its first instruction; when it detaches or its
 * connection breaks, the machine runs on, and another may come.
 */
export const openGdbServer = async ({ host, port }: GdbAddress, tell: (line: string) => void): Promise<Debugger> => {
  let machine: (Machine & Debuggable) | undefined
  let stub: GdbStub | undefined
  let socket: Socket | undefined
  let awaited = true
  let wake: (() => void) | undefined

  const attach = (): void => {
    if (machine === undefined || socket === undefined) return
    const to = socket
    stub = createGdbStub({ machine, send: (text) => to.write(text, 'latin1') })
  }
  const release = (): void => {
    machine?.watch([])
    stub = undefined
    socket?.destroy()
    socket = undefined
    wake?.()
  }
  const connected = (incoming: Socket): void => {
    if (socket !== undefined) {
      incoming.destroy()
      return
    }
    socket = incoming
    awaited = false
    incoming.setNoDelay(true)
    attach()
    incoming.on('data', (bytes) => {
      stub?.receive(Buffer.from(bytes))
      if (stub !== undefined && stub.detached !== 'no') release()
      wake?.()
    })
    incoming.on('error', () => { if (socket === incoming) release() })
    incoming.on('close', () => { if (socket === incoming) release() })
  }

  const server: Server = createServer(connected)
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => {
      reject(inputError(`gdb ${host}:${port}`, plainReason(error), 'an address and port where this process may listen'))
    })
    server.listen(port, host, () => { resolve() })
  })
  const bound = server.address()
  tell(`gdb: waiting on ${host}:${typeof bound === 'object' && bound !== null ? bound.port : port}`)

  return {
    started(next) {
      if (!isDebuggable(next)) return
      machine = next
      attach()
    },
    async ready(givenUp) {
      while ((stub === undefined ? awaited : !stub.running) && !givenUp()) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, lookEvery)
          wake = () => {
            clearTimeout(timer)
            resolve()
          }
        })
        wake = undefined
      }
    },
    after(result) {
      if (stub === undefined || machine === undefined) return false
      const stop = stopOf(result, stub, machine)
      if (stop !== undefined) stub.stopped(stop)
      return stop !== undefined
    },
    close(status) {
      stub?.stopped({ kind: 'exited', status })
      socket?.end()
      server.close()
      socket?.unref()
    },
  }
}
