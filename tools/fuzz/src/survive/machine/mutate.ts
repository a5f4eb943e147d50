/** Damage to files: cut off, flipped, overwritten with edges, moved within. */
import type { Random } from '@cofferdam/oracle'

const EDGES = [0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_f000, 0xffff_ffff]

/** A damaged copy; where `hot` says so damage is likelier, as in headers. */
export function mutate(random: Random, image: Uint8Array, hot: readonly number[]): Uint8Array {
  let bytes = image.slice()
  const place = (): number => (random.below(4) !== 0 && hot.length > 0
    ? Math.min(random.pick(hot) + random.below(8), Math.max(0, bytes.length - 1))
    : random.below(Math.max(1, bytes.length)))
  for (let times = 1 + random.below(5); times > 0; times--) {
    const at = place()
    const width = random.pick([1, 2, 4, 8])
    switch (random.below(8)) {
      case 0:
        bytes = bytes.slice(
          0, random.below(4) === 0 ? random.below(Math.min(bytes.length, 600) + 1) : random.below(bytes.length + 1),
        )
        break
      case 1:
        bytes[at] ^= 1 << random.below(8)
        break
      case 2: {
        const length = Math.min(random.below(64), bytes.length)
        bytes.copyWithin(at, random.below(bytes.length - length + 1), random.below(bytes.length + 1))
        break
      }
      case 3:
        for (let i = at; i < Math.min(at + random.below(32), bytes.length); i++) bytes[i] = random.below(256)
        break
      default: {
        const value = random.below(4) === 0 ? random.u32() : random.pick(EDGES)
        for (let i = 0; i < width && at + i < bytes.length; i++) {
          bytes[at + i] = i < 4 ? value >>> 8 * i : random.below(2) * 0xff
        }
      }
    }
  }
  return bytes
}
