const MiB = 2 ** 20

/**
 * Bytes of the host's memory under a guest with so many: what the guest may come to need, the reverse map (1/256), and
 * room for the host itself.
 */
export const hostMemory = (guest: number): number => Math.ceil(guest * (1 + 1 / 32) / (2 * MiB)) * 2 * MiB + 512 * MiB
