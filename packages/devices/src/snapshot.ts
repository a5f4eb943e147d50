/** What a device's snapshot is made of: JSON can carry it. */
export type Plain = number | boolean | string | null | readonly Plain[] | { readonly [key: string]: Plain }

/** A snapshot that does not fit the device it is restored into. */
export class SnapshotError extends Error {
  /** The device, as it calls itself. */
  readonly device: string
  /** The path of the offending field, e.g. `channels[2].mode`. */
  readonly field: string

  constructor(device: string, field: string, expected: string) {
    super(`${device}: snapshot field '${field}': expected ${expected}`)
    this.name = 'SnapshotError'
    this.device = device
    this.field = field
  }
}

type Mutable = Record<string, unknown>

/** A deep copy of plain data. */
export function copyPlain<T>(value: T): T {
  if (Array.isArray(value)) return value.map((item: unknown) => copyPlain(item)) as T
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, copyPlain(item as unknown)])) as T
  }
  return value
}

const fits = (device: string, like: unknown, value: unknown, path: string): void => {
  if (Array.isArray(like)) {
    if (!Array.isArray(value)) throw new SnapshotError(device, path, 'a list')
    if (value.length !== like.length) throw new SnapshotError(device, path, `${like.length} items`)
    like.forEach((item, i) => { fits(device, item, value[i], `${path}[${i}]`) })
  } else if (typeof like === 'object' && like !== null) {
    if (typeof value !== 'object' || value === null) throw new SnapshotError(device, path, 'a record')
    for (const [key, item] of Object.entries(like)) {
      fits(device, item, (value as Mutable)[key], path === '' ? key : `${path}.${key}`)
    }
  } else if (typeof like === 'number') {
    if (!Number.isSafeInteger(value)) throw new SnapshotError(device, path, 'an integer')
  } else if (typeof value !== typeof like) throw new SnapshotError(device, path, `a ${typeof like}`)
}

const fill = (state: Mutable, saved: Mutable): void => {
  for (const key of Object.keys(state)) {
    const old = state[key]
    const value = saved[key]
    if (Array.isArray(old)) {
      const list = value as unknown[]
      list.forEach((item, i) => {
        if (typeof old[i] === 'object' && old[i] !== null) fill(old[i] as Mutable, item as Mutable)
        else old[i] = item
      })
    } else if (typeof old === 'object' && old !== null) fill(old as Mutable, value as Mutable)
    else state[key] = value
  }
}

/**
 * Overwrites `state` in place by `saved` after checking that it has the same shape: every field there, of the same
 * type, numbers integers, lists of the same length. Nothing is changed when it has not.
 * @throws SnapshotError naming the field.
 */
export function restorePlain(device: string, state: object, saved: unknown): void {
  fits(device, state, saved, '')
  fill(state as Mutable, saved as Mutable)
}

/** One part of a machine's snapshot: a device, by a name that no other part has. */
export interface SnapshotPart {
  readonly name: string
  snapshot(): Plain
  /** @throws SnapshotError naming the device and the field that does not fit */
  restore(saved: Plain): void
}

/** A device as a part of a machine's snapshot. */
export function snapshotPart<S>(name: string, device: { snapshot(): S, restore(saved: S): void }): SnapshotPart {
  // What a device saves is plain; that it gets its own back, its `restore` checks.
  return { name, snapshot: () => device.snapshot() as Plain, restore: (saved) => { device.restore(saved as S) } }
}
