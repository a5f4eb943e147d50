/** Milliseconds that no case can take. */
const HANG = 10_000

/** Milliseconds that this process has computed for: what takes long because others compute too, is no hang. */
function computed(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

/** Begins to watch a case; what comes back says what is wrong with how long it has taken since, or null. */
export function watchHang(): () => string | null {
  const [began, before] = [performance.now(), computed()]
  return () => {
    // Asking the system is slow, and seldom needed.
    const took = performance.now() - began > HANG ? computed() - before : 0
    return took > HANG ? `took ${Math.round(took)} ms` : null
  }
}
