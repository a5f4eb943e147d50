/** How a walk reaches memory. */

/**
 * Reads and updates page-table entries. One record serves all walks of a processor. Physical addresses are JavaScript
 * numbers below 2^52, aligned to the entry.
 *
 * An access that a guard forbids (an RMP check, secure memory) sets `refused` to a number other than 0, which the
 * walk's result hands on as `refusal`; the walker clears it before it starts.
 */
export interface PageTablePort {
  /** Set by `load64`: the entry's upper half. */
  high: number
  /** Not 0 when the last access was refused: the guard's own code. */
  refused: number
  /** Loads the 8-byte entry at `pa` as `key` sees it: the lower half is the answer, the upper half goes to `high`. */
  load64(pa: number, key: number): number
  /** Loads a 4-byte entry (32-bit paging). */
  load32(pa: number, key: number): number
  /**
   * Sets bits (accessed, dirty) in the lower half of an entry, atomically. Answers false when the write is refused;
   * `refused` then says why. Memory that swallows writes (ROM) answers true.
   */
  setBits(pa: number, key: number, bits: number): boolean
  /**
   * In two dimensions, before a guest's own table is read: the key to use for it, or −1 to refuse (with `refused`).
   * Left out: the guest's key when it names one, else the nested tables'.
   *
   * @param page system physical address of the 4 KiB page that holds the entry
   * @param gpa guest physical address of the entry
   * @param shift log2 of the nested page's size
   */
  guestTable?(page: number, gpa: number, shift: number, key: number, nestedKey: number): number
}
