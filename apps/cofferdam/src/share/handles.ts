/**
 * The files that a guest holds on to, one record for each file of the host. A record knows its directory and its name
 * there, and has a descriptor when one is needed: there may be many more records than descriptors.
 */
import { closeSync, type BigIntStats } from 'node:fs'
import { fail, failed, type Answer } from '@cofferdam/ninep'
import { keyOf, type FileNumbers } from './numbers.ts'
import { openEntry, openFolder, statusOf } from './system.ts'

/** One file of the host. */
export interface Handle {
  readonly key: string
  /** The number that the guest knows it by. */
  number: bigint
  /** The kind bits of its mode. */
  readonly kind: number
  /** Where it was last seen; undefined for the folder itself. */
  parent: Handle | undefined
  name: string
  /** Names it without opening it; may be closed and opened again at any time. */
  descriptor: number | undefined
  /** Descriptors of the guest's open files: they outlive the name. */
  readonly open: Set<number>
  /** Its last name is gone: what is found by it now is another file. */
  removed: boolean
  /** Users: fids, open files, and the handles of what lies below. */
  users: number
}

/** The records of one shared folder. */
export interface Handles {
  readonly root: Handle
  /** A descriptor of the file: valid beyond the next such call, not beyond two. ESTALE when the host has moved it. */
  descriptor(handle: Handle): Answer<number>
  /** Takes over a descriptor of an entry that was found; the record has one user more. */
  enter(parent: Handle, name: string, descriptor: number, status: BigIntStats): Answer<Handle>
  /** One user less. */
  leave(handle: Handle): void
  /** The guest has moved the file of that identity. */
  moved(key: string, parent: Handle, name: string): void
  /** The guest has removed the last name of the file of that identity: whoever is next found under it is another. */
  gone(key: string): void
  /** Takes the numbers of a snapshot over. Nothing but the folder itself may be held. */
  renumber(saved: unknown): void
  /** Closes everything. */
  close(): void
}

/** Descriptors for records; open files have their own. */
const mostDescriptors = 256
/** Records: each takes some 200 bytes. */
const mostHandles = 2 ** 18
/**
 * So many directories without a descriptor are opened on the way to a file. Fewer than descriptors are kept, so that
 * one that was asked for before the call is still open after it.
 */
const deepest = 200

const kindBits = 0o170000n
const kindOf = ({ mode }: BigIntStats): number => Number(mode & kindBits)

/** Whether `upper` is `lower` or lies above it. */
const isAbove = (upper: Handle, lower: Handle): boolean => {
  for (let at: Handle | undefined = lower; at !== undefined; at = at.parent) if (at === upper) return true
  return false
}

/**
 * Opens a folder.
 * @throws the system's error when it can't be opened
 */
export const openHandles = (folder: string, numbers: FileNumbers): Handles => {
  const handles = new Map<string, Handle>()
  /** Handles with a descriptor, the one that was used last at the end. */
  const recent = new Set<Handle>()

  const closeDescriptor = (handle: Handle): void => {
    recent.delete(handle)
    if (handle.descriptor !== undefined) closeSync(handle.descriptor)
    handle.descriptor = undefined
  }
  const give = (handle: Handle, descriptor: number): void => {
    handle.descriptor = descriptor
    if (handle === root) return
    recent.add(handle)
    for (const other of recent) if (recent.size > mostDescriptors) closeDescriptor(other)
  }
  const makeHandle = (descriptor: number, status: BigIntStats, parent?: Handle, name = ''): Handle => {
    const key = keyOf(status)
    const handle: Handle = {
      key, number: numbers.of(key), kind: kindOf(status), parent, name, descriptor: undefined, open: new Set(),
      removed: false, users: 0,
    }
    handles.set(handle.key, handle)
    if (parent !== undefined) {
      parent.users += 1
      give(handle, descriptor)
    } else handle.descriptor = descriptor
    return handle
  }

  const rootDescriptor = openFolder(folder)
  const root: Handle = makeHandle(rootDescriptor, statusOf(rootDescriptor))
  root.users = 1

  const leave = (given: Handle): void => {
    for (let handle: Handle | undefined = given; handle !== undefined; ) {
      handle.users -= 1
      if (handle.users > 0) return
      closeDescriptor(handle)
      if (handles.get(handle.key) === handle) handles.delete(handle.key)
      handle = handle.parent
    }
  }
  const place = (handle: Handle, parent: Handle, name: string): void => {
    const before = handle.parent
    parent.users += 1
    handle.parent = parent
    handle.name = name
    if (before !== undefined) leave(before)
  }

  /** A descriptor that is there already. */
  const ready = (handle: Handle): number | undefined => {
    if (handle.descriptor === undefined) return handle.open.values().next().value
    if (recent.delete(handle)) recent.add(handle)
    return handle.descriptor
  }

  /** Finds a file again in its directory, by its name, and makes sure that it is the same. */
  const find = (directory: number, handle: Handle): Answer<number> => {
    const found = handle.removed ? fail('ESTALE') : openEntry(directory, handle.name)
    if (failed(found)) return fail('ESTALE')
    if (keyOf(found.status) !== handle.key || kindOf(found.status) !== handle.kind) {
      closeSync(found.descriptor)
      return fail('ESTALE')
    }
    give(handle, found.descriptor)
    return found.descriptor
  }

  const descriptor = (handle: Handle): Answer<number> => {
    const way: Handle[] = []
    let at = handle
    let current = ready(at)
    while (current === undefined) {
      way.push(at)
      if (at.parent === undefined || way.length > deepest) return fail('ESTALE')
      at = at.parent
      current = ready(at)
    }
    for (const next of way.reverse()) {
      const found = find(current, next)
      if (failed(found)) return found
      current = found
    }
    return current
  }

  return {
    root,
    descriptor,
    enter(parent, name, opened, status) {
      const known = handles.get(keyOf(status))
      if (known?.kind === kindOf(status)) {
        if (known.descriptor === undefined) give(known, opened)
        else closeSync(opened)
        // the same file by another name, or moved by the host: where it was seen last is where it is found again
        const elsewhere = known.parent !== parent || known.name !== name
        if (elsewhere && known !== root && !isAbove(known, parent)) place(known, parent, name)
        known.users += 1
        return known
      }
      if (handles.size >= mostHandles) {
        closeSync(opened)
        return fail('ENFILE')
      }
      const handle = makeHandle(opened, status, parent, name)
      handle.users = 1
      return handle
    },
    leave,
    moved(key, parent, name) {
      const handle = handles.get(key)
      if (handle !== undefined && handle !== root && !isAbove(handle, parent)) place(handle, parent, name)
    },
    gone(key) {
      const handle = handles.get(key)
      if (handle !== undefined) handle.removed = true
      handles.delete(key)
      numbers.forget(key)
    },
    renumber(saved) {
      numbers.restore(saved)
      root.number = numbers.of(root.key)
    },
    close() {
      for (const handle of recent) closeDescriptor(handle)
      closeDescriptor(root)
    },
  }
}
