/** What a gateway counts and saves. */

/** An option or a snapshot that makes no gateway. */
export class GatewayError extends Error {
  readonly field: string

  constructor(field: string, expected: string) {
    super(`gateway: ${field}: expected ${expected}`)
    this.name = 'GatewayError'
    this.field = field
  }
}

/** Frames from and to the guest, those that were dropped, and packets that were meant for somebody else. */
export const counters = () => ({ framesIn: 0, framesOut: 0, dropped: 0, prohibited: 0 })

interface Checked {
  readonly random: number
  readonly identification: number
  readonly timerAt: number
  readonly counts: ReturnType<typeof counters>
  /** For those who know their form. */
  readonly leases?: unknown
  readonly neighbours?: unknown
  readonly fragments?: unknown
  readonly tcp?: unknown
}

type Loose = Readonly<Record<string, unknown>>

const isRecord = (value: unknown): value is Loose => typeof value === 'object' && value !== null

function number(from: Loose, name: string, least = 0): number {
  const value = from[name]
  if (Number.isSafeInteger(value) && (value as number) >= least) return value as number
  throw new GatewayError(name, `a number from ${least} on`)
}

/** The numbers of a snapshot. @throws GatewayError */
export function checkSnapshot(saved: unknown, address: string): Checked {
  if (!isRecord(saved)) throw new GatewayError('snapshot', 'a record')
  if (saved.address !== address) throw new GatewayError('address', address)
  if (!isRecord(saved.counts)) throw new GatewayError('counts', 'a record')
  const counts = counters()
  for (const name of Object.keys(counts) as (keyof typeof counts)[]) counts[name] = number(saved.counts, name)
  const { leases, neighbours, fragments, tcp } = saved
  return {
    random: number(saved, 'random') >>> 0, identification: number(saved, 'identification') % 0x1_0000 || 1,
    timerAt: number(saved, 'timerAt', -1), counts, leases, neighbours, fragments, tcp,
  }
}
