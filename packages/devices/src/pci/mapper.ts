/** Puts regions that software moves (BARs, ECAM, PMBASE) on the buses, and survives software that moves them badly. */
import { SnapshotError } from '../snapshot.ts'
import { type IoBus, type IoHandlers, type IoRange, RangeConflict } from '@cofferdam/memory'

/** The two address spaces of a PC. */
export type Space = 'ports' | 'memory'

/** Where a region is now. */
export interface Placement {
  readonly space: Space
  readonly start: number
  readonly length: number
}

/** A region that software can move. */
export interface MovableRegion {
  /** Moves the region; undefined takes it off the bus. */
  place(placement: Placement | undefined): void
  /** The placement that is on the bus: undefined when off, or in conflict with another claim. */
  mapped(): Placement | undefined
}

/** Options of {@link createMapper}. */
export interface MapperOptions {
  readonly ports: IoBus
  readonly memory: IoBus
  /** A region could not be mapped because another has the place. It is tried again whenever something moves away. */
  readonly onConflict?: (name: string, placement: Placement) => void
}

/** Who holds the places that several regions want, as numbers of regions in the order of their creation. */
export interface MapperSnapshot {
  readonly waiting: readonly number[]
}

/** Creates movable regions. */
export interface Mapper {
  region(name: string, handlers: IoHandlers): MovableRegion
}

/** A mapper over a machine's buses. */
export interface BusMapper extends Mapper {
  /** The regions' placements are not in it: who owns them places them again, before `restore`. */
  snapshot(): MapperSnapshot
  /** @throws SnapshotError when it names a region that there is none of */
  restore(saved: MapperSnapshot): void
}

interface Entry {
  readonly name: string
  readonly handlers: IoHandlers
  wanted: Placement | undefined
  range: IoRange | undefined
}

const same = (a: Placement | undefined, b: Placement | undefined): boolean =>
  a === b || (b !== undefined && a?.space === b.space && a.start === b.start && a.length === b.length)

/** Creates a mapper over the machine's buses. Who comes first keeps a contested place. */
export function createMapper(options: MapperOptions): BusMapper {
  const entries: Entry[] = []
  const busOf = (space: Space): IoBus => (space === 'ports' ? options.ports : options.memory)

  const attach = (entry: Entry): boolean => {
    const { wanted } = entry
    if (wanted === undefined) return true
    const range: IoRange = { name: entry.name, start: wanted.start, length: wanted.length, handlers: entry.handlers }
    try {
      busOf(wanted.space).attach(range)
    } catch (error) {
      // RangeError: the place is outside the bus, as while a BAR is sized. Both are the guest's doing.
      if (error instanceof RangeConflict || error instanceof RangeError) return false
      throw error
    }
    entry.range = range
    return true
  }

  const detach = (entry: Entry): void => {
    if (entry.range !== undefined && entry.wanted !== undefined) busOf(entry.wanted.space).detach(entry.range)
    entry.range = undefined
  }

  return {
    snapshot: () => ({
      waiting: entries.flatMap(({ wanted, range }, n) => (wanted !== undefined && range === undefined ? [n] : [])),
    }),
    restore(saved) {
      const waiting: unknown = (saved as Partial<MapperSnapshot> | null)?.waiting
      if (!Array.isArray(waiting) || !waiting.every((n) => Number.isInteger(n) && n >= 0 && n < entries.length)) {
        throw new SnapshotError('bars', 'waiting', `a list of numbers below ${entries.length}`)
      }
      const last = (waiting as number[]).map((n) => entries[n])
      for (const entry of last) detach(entry)
      for (const entry of entries) if (entry.range === undefined && !last.includes(entry)) attach(entry)
      for (const entry of last) attach(entry)
    },
    region(name, handlers) {
      const entry: Entry = { name, handlers, wanted: undefined, range: undefined }
      entries.push(entry)
      return {
        place(placement) {
          if (same(entry.wanted, placement)) return
          detach(entry)
          entry.wanted = placement
          if (!attach(entry) && placement !== undefined) options.onConflict?.(name, placement)
          for (const other of entries) if (other.range === undefined && other !== entry) attach(other)
        },
        mapped: () => (entry.range === undefined ? undefined : entry.wanted),
      }
    },
  }
}
