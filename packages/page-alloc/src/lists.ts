/** Doubly linked lists in flat arrays: an item is an index, -1 ends a list. */

/** Puts `item` on `list`, in front or (`last`) at its end. */
export function link(
  head: Int32Array, tail: Int32Array, next: Int32Array, prev: Int32Array, list: number, item: number, last: boolean,
): void {
  if (last) {
    const before = tail[list]
    next[item] = -1
    prev[item] = before
    tail[list] = item
    if (before < 0) head[list] = item
    else next[before] = item
  } else {
    const after = head[list]
    prev[item] = -1
    next[item] = after
    head[list] = item
    if (after < 0) tail[list] = item
    else prev[after] = item
  }
}

/** Takes `item` off `list`. */
export function unlink(
  head: Int32Array, tail: Int32Array, next: Int32Array, prev: Int32Array, list: number, item: number,
): void {
  const before = prev[item]
  const after = next[item]
  if (before < 0) head[list] = after
  else next[before] = after
  if (after < 0) tail[list] = before
  else prev[after] = before
}
