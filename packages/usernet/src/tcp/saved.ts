/** Connections as data that JSON can carry, and back. */
import { fromBase64, toBase64 } from '../base64.ts'
import { createTcb, STATE, type Tcb } from './tcb.ts'

/** A connection as data. */
export function saveTcb({ out, in: received, gaps, ...numbers }: Tcb): object {
  return {
    numbers, out: toBase64(out.peek(0, out.length())), in: toBase64(received.peek(0, received.length())),
    gaps: gaps.pieces.map(({ seq, data }) => ({ seq, data: toBase64(data) })),
  }
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null

/** A connection from a snapshot; undefined when it is none. */
function checkTcb(saved: unknown): Tcb | undefined {
  if (!isRecord(saved) || !isRecord(saved.numbers) || !Array.isArray(saved.gaps)) return undefined
  const tcb = createTcb(0, 0, 0, 0, STATE.CLOSED)
  const target = tcb as unknown as Record<string, unknown>
  for (const [name, like] of Object.entries(tcb)) {
    if (typeof like === 'object') continue
    const value = saved.numbers[name]
    if (typeof value !== typeof like || (typeof value === 'number' && !Number.isSafeInteger(value))) return undefined
    target[name] = value
  }
  const [out, received] = [fromBase64(saved.out), fromBase64(saved.in)]
  if (out === undefined || received === undefined || !Object.values(STATE).includes(tcb.state)) return undefined
  tcb.out.push(out)
  tcb.in.push(received)
  for (const gap of saved.gaps as readonly unknown[]) {
    const data = isRecord(gap) ? fromBase64(gap.data) : undefined
    if (data === undefined || !isRecord(gap) || !Number.isSafeInteger(gap.seq)) return undefined
    tcb.gaps.add((gap.seq as number) >>> 0, data)
  }
  return tcb
}

/** The connections of a snapshot; undefined when one of them is none, or there are more than `most`. */
export function checkSaved(saved: unknown, most: number) {
  if (!isRecord(saved) || !Array.isArray(saved.connections) || saved.connections.length > most) return undefined
  const { nextPort, dropped } = saved
  const connections = (saved.connections as readonly unknown[]).map(checkTcb)
  if (!connections.every((tcb) => tcb !== undefined)) return undefined
  if (!Number.isSafeInteger(nextPort) || !Number.isSafeInteger(dropped)) return undefined
  return { nextPort: nextPort as number, dropped: dropped as number, connections }
}
