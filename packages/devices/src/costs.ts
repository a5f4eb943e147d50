/** What takes longer than an instruction: nanoseconds of virtual time, so that polling a device costs what it does. */
export const COST = {
  /**
   * An access to a port behind the LPC bridge. Linux takes a write to port 80h for a microsecond
   * (arch/x86/kernel/io_delay.c; "a typical ISA cycle").
   */
  port: 1000,
  /**
   * An access to a register in the chipset's memory. Reading the HPET takes about half a microsecond on PCs
   * (Linux calibrates by reading it in a loop: drivers/char/hpet.c).
   */
  memory: 500,
  /**
   * Bytes that a device moves to or from RAM in a nanosecond: some 8 GB a second, a PCI Express 3.0 link of 8 lanes.
   */
  dmaBytes: 8,
  /**
   * A command of the PSP, which is a slow processor behind a mailbox. An estimate: Linux sleeps until its interrupt
   * (drivers/crypto/ccp/sev-dev.c), and gives it seconds.
   */
  pspCommand: 20_000,
} as const
