import type { Plain } from '@cofferdam/devices'
import type { SnapshotData } from '@cofferdam/machine'
import type { Machine } from '../machine-port.ts'
import type { ConsoleWatch } from '../run/console-watch.ts'
import type { Script } from '../run/script.ts'
import type { Attachment } from './attachment.ts'
import type { Interval, SnapshotChoice } from './options.ts'

/** Takes a session's snapshots when they are due. */
export interface Saving {
  /** Whether a snapshot is due; asked after each slice, and once before the first. */
  isDue(machine: Machine): boolean
  /** Between two slices: takes a snapshot. Answers whether the session is to stop. */
  take(machine: Machine, script: Script): Promise<boolean>
  /** What the console should have shown for a snapshot, and has not yet. */
  readonly missed: string | undefined
}

/** What a session's snapshots are made of. */
export interface SavingOptions {
  readonly choice: SnapshotChoice
  readonly watch: ConsoleWatch
  /** What was booted, apart from what the console and the script know. */
  readonly booted: Pick<Attachment, 'booted' | 'commandLine' | 'ownShell'>
  readonly write: (snapshot: SnapshotData) => Promise<void>
}

const positionOf = (machine: Machine, { unit }: Interval): number => {
  const { virtualTime, instructions } = machine.stats()
  return unit === 'nanoseconds' ? virtualTime : instructions
}

/** Makes a session's part that saves; undefined when there is nothing to save. */
export const createSaving = ({ choice, watch, booted, write }: SavingOptions): Saving | undefined => {
  const { snapshotAt, snapshotEvery, snapshotStop } = choice
  if (snapshotAt === undefined && snapshotEvery === undefined) return undefined
  let taken = false
  /** The interval that the last slice ended in, by number; a restored machine goes on counting. */
  let interval: number | undefined
  let counted: Machine | undefined

  return {
    isDue(machine) {
      if (snapshotEvery === undefined) return !taken && watch.snapshotSeen
      const now = Math.floor(positionOf(machine, snapshotEvery) / snapshotEvery.every)
      const due = counted === machine && interval !== undefined && now > interval
      counted = machine
      interval = now
      return due
    },
    async take(machine, script) {
      const attachment: Attachment = { version: 1, ...booted, console: watch.save(), script: script.save() }
      // It is plain data, which an interface does not say of itself.
      await write(machine.snapshot(attachment as unknown as Plain))
      taken = true
      return snapshotStop === true
    },
    get missed() {
      return taken ? undefined : snapshotAt
    },
  }
}
