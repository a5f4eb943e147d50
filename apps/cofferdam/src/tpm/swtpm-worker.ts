/**
 * Talks to swtpm while the thread that wants an answer waits: connects to its data socket, sends a command, and hands
 * the response over in shared memory.
 */
import { connect, type Socket } from 'node:net'
import { parentPort, workerData } from 'node:worker_threads'
import { answerOf, ANSWER, type SwtpmWorkerData } from './answer.ts'

const { path, memory, deadline } = workerData as SwtpmWorkerData
const { state, bytes, length } = answerOf(memory)
/** Milliseconds between two attempts to connect: swtpm has just been started. */
const RETRY = 5
const HEADER = 10

let socket: Socket | undefined
let received = Buffer.alloc(0)

const finish = (outcome: number): void => {
  Atomics.store(state, 0, outcome)
  Atomics.notify(state, 0)
}

const onData = (chunk: Buffer): void => {
  received = Buffer.concat([received, chunk])
  if (received.length < HEADER) return
  const size = received.readUInt32BE(2)
  if (size > bytes.length || size < HEADER) finish(ANSWER.failed)
  else if (received.length >= size) {
    bytes.set(received.subarray(0, size))
    length[0] = size
    received = received.subarray(size)
    finish(ANSWER.ready)
  }
}

/** A connection, as soon as there is somebody to answer it. */
const open = (until: number): Promise<Socket> => new Promise((resolve, reject) => {
  const attempt = connect(path)
  attempt.once('connect', () => { resolve(attempt) })
  attempt.once('error', (error) => {
    if (Date.now() > until) reject(error)
    else setTimeout(() => { open(until).then(resolve, reject) }, RETRY)
  })
})

const send = async (command: Uint8Array): Promise<void> => {
  if (socket === undefined) {
    socket = await open(Date.now() + deadline)
    socket.on('data', onData)
    socket.on('error', () => { finish(ANSWER.failed) })
    socket.on('close', () => { finish(ANSWER.failed) })
  }
  socket.write(command)
}

parentPort?.on('message', (command: Uint8Array) => {
  send(command).catch(() => { finish(ANSWER.failed) })
})
