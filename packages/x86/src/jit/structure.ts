/**
 * Control flow of a region made structured: reverse postorder, dominators and the nodes where paths meet, after N.
 * Ramsey,
 * "Beyond Relooper" (ICFP 2022). Node 0 is the dispatcher that leads to every entry.
 */

export interface Structure {
  /** Nodes that the dispatcher leads to; more than were asked for when the graph was irreducible. */
  readonly entries: readonly number[]
  /** Place in reverse postorder. */
  readonly order: Int32Array
  /** Children in the dominator tree. */
  readonly children: readonly (readonly number[])[]
  /** More than one forward edge comes in (or the dispatcher's). */
  readonly isMerge: Uint8Array
  /** A back edge comes in. */
  readonly isLoop: Uint8Array
  dominates(a: number, b: number): boolean
}

/** Reverse postorder from node 0. */
function reversePostorder(successors: readonly (readonly number[])[]): number[] {
  const seen = new Uint8Array(successors.length)
  const order: number[] = []
  const stack: [number, number][] = [[0, 0]]
  seen[0] = 1
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    const next = successors[top[0]][top[1]++] as number | undefined
    if (next === undefined) {
      order.push(top[0])
      stack.pop()
    } else if (seen[next] === 0) {
      seen[next] = 1
      stack.push([next, 0])
    }
  }
  return order.reverse()
}

/** Immediate dominators (Cooper, Harvey, Kennedy, "A Simple, Fast Dominance Algorithm"). */
function immediateDominators(
  rpo: readonly number[], order: Int32Array, predecessors: readonly (readonly number[])[],
): Int32Array {
  const idom = new Int32Array(order.length).fill(-1)
  idom[0] = 0
  const meet = (x: number, y: number): number => {
    let a = x
    let b = y
    while (a !== b) {
      while (order[a] > order[b]) a = idom[a]
      while (order[b] > order[a]) b = idom[b]
    }
    return a
  }
  for (let changed = true; changed;) {
    changed = false
    for (const node of rpo) {
      if (node === 0) continue
      let dominator = -1
      for (const p of predecessors[node]) {
        if (idom[p] >= 0) dominator = dominator < 0 ? p : meet(p, dominator)
      }
      if (dominator !== idom[node]) {
        idom[node] = dominator
        changed = true
      }
    }
  }
  return idom
}

/**
 * @param successors of nodes 1 to n; those of node 0 are the entries
 * @param forced nodes that must be reached by a branch, never written in place
 */
export function structure(
  successors: (readonly number[])[], entries: readonly number[], forced: ReadonlySet<number>,
): Structure {
  const wanted = new Set(entries)
  for (;;) {
    successors[0] = [...wanted]
    const rpo = reversePostorder(successors)
    const order = new Int32Array(successors.length).fill(-1)
    rpo.forEach((node, at) => { order[node] = at })
    const predecessors: number[][] = successors.map(() => [])
    for (const node of rpo) for (const s of successors[node]) predecessors[s].push(node)
    const idom = immediateDominators(rpo, order, predecessors)
    const dominates = (a: number, b: number): boolean => {
      let at = b
      while (order[at] > order[a]) at = idom[at]
      return at === a
    }
    // A back edge to a node that does not dominate its source: that node becomes an entry, reached through the
    // dispatcher.
    const before = wanted.size
    for (const node of rpo) {
      for (const s of successors[node]) if (node !== 0 && order[s] <= order[node] && !dominates(s, node)) wanted.add(s)
    }
    if (wanted.size > before) continue
    const children: number[][] = successors.map(() => [])
    const isMerge = new Uint8Array(successors.length)
    const isLoop = new Uint8Array(successors.length)
    for (const node of rpo) {
      if (node !== 0) children[idom[node]].push(node)
      let forward = 0
      for (const p of predecessors[node]) {
        if (p !== 0 && order[p] >= order[node]) {
          if (dominates(node, p)) isLoop[node] = 1
        } else {
          forward++
        }
      }
      if (forward > 1 || wanted.has(node) || forced.has(node)) isMerge[node] = 1
    }
    return { entries: [...wanted], order, children, isMerge, isLoop, dominates }
  }
}
