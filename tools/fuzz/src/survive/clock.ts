/** Milliseconds that this process has computed for: what takes long because others compute too, is no hang. */
export function computed(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}
