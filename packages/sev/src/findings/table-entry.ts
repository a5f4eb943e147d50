import type { TableEntry } from '@cofferdam/findings'
import { describeRmpEntry, encodeRmpEntry } from '../rmp/entry.ts'
import type { RmpFields } from '../rmp/entry.ts'

/** An RMP entry as evidence. */
export function entryOf(entry: Readonly<RmpFields>): TableEntry {
  const { low, high } = encodeRmpEntry(entry)
  return { table: 'RMP', words: [low, high], text: describeRmpEntry(entry) }
}
