/**
 * Cycles of a directed graph: its strongly connected components of more than one node, and nodes that lead to
 * themselves (Tarjan 1972). Each is given as a path that returns to its first node.
 */
export function cycles(edges: ReadonlyMap<string, readonly string[]>): string[][] {
  const index = new Map<string, number>()
  const low = new Map<string, number>()
  const stack: string[] = []
  const components: string[][] = []

  const visit = (node: string): void => {
    index.set(node, index.size)
    low.set(node, index.get(node) ?? 0)
    stack.push(node)
    for (const next of edges.get(node) ?? []) {
      if (!index.has(next)) visit(next)
      if (stack.includes(next)) low.set(node, Math.min(low.get(node) ?? 0, low.get(next) ?? 0))
    }
    if (low.get(node) === index.get(node)) components.push(stack.splice(stack.indexOf(node)))
  }
  for (const node of edges.keys()) if (!index.has(node)) visit(node)

  return components
    .filter(([first = '', ...others]) => others.length > 0 || edges.get(first)?.includes(first))
    .map((component) => wayRound(component, edges))
}

/** The shortest way from the component's first node back to it. */
function wayRound(component: readonly string[], edges: ReadonlyMap<string, readonly string[]>): string[] {
  const start = component[0] ?? ''
  const ways: string[][] = [[start]]
  const seen = new Set<string>()
  for (const way of ways) {
    for (const next of edges.get(way.at(-1) ?? '') ?? []) {
      if (next === start) return [...way, start]
      if (!component.includes(next) || seen.has(next)) continue
      seen.add(next)
      ways.push([...way, next])
    }
  }
  return [...component, start]
}
