/** Random small programs of 64-bit code, as text for `assemble`. */
import fc from 'fast-check'

/** Short sequences that leave RSI (data) and R12 (loop counter) alone. */
const pieces = [
  '48 ff c0', '48 01 c3', '48 29 d8', '48 89 46 10', '48 03 46 10', '48 01 56 20', '48 0f af c3', '48 c1 c0 07',
  '48 d1 d8', '48 11 d8',
  'f9', 'f5', '0f 92 c2', '48 0f 44 d8', '50 5b', '9c 5a', 'd0 ea', '0f 31', '98', '0f b6 46 11', '48 87 46 08',
  '66 ff 46 04', 'fb', 'fa',
  '66 48 0f 6e c0', '66 0f fe c1', 'f3 0f 6f 4e 10', '66 0f 7f 46 30', '0f a2', 'e8 00 00 00 00 58', '86 e0', '0f c8',
  '4c 8d 44 46 05',
  '48 85 c0 74 02 ff c3', '39 c3 7c 03 48 ff ca', '84 d2 78 01 90', '48 39 46 10 76 03 48 f7 d3',
  // Over the end of the page.
  '48 89 86 fd 0f 00 00', '48 03 9e fd 0f 00 00', '66 ff 86 ff 0f 00 00',
  // The code changes the next instruction, which is add al,imm8.
  '88 05 01 00 00 00 04 00',
  'c6 05 01 00 00 00 07 04 00',
]
const byte = (n: number): string => n.toString(16).padStart(2, '0')

const simple = fc.constantFrom(...pieces)
/** A repeated string instruction from RSI to 512 bytes behind it: MOVSB, STOSQ, REPE CMPSB, REPNE SCASB, LODSW. */
const repeated = fc.tuple(
  fc.integer({ min: 0, max: 12 }), fc.constantFrom('f3 a4', 'f3 48 ab', 'f3 a6', 'f2 ae', 'f3 66 ad', 'f3 aa'),
)
  .map(([count, insn]) => `56 b9 ${byte(count)} 00 00 00 48 8d be 00 02 00 00 ${insn} 5e`)
const straight = fc.oneof({ arbitrary: simple, weight: 6 }, { arbitrary: repeated, weight: 1 })

/** A loop that runs up to 60 times. */
const loop = fc.tuple(fc.integer({ min: 1, max: 60 }), fc.array(straight, { minLength: 1, maxLength: 8 }), fc.nat())
  .map(([count, body, name]) =>
    `41 bc ${byte(count)} 00 00 00 l${String(name)}: ${body.join(' ')} 41 ff cc 0f 85 [l${String(name)}:rel32]`)

/** Programs that end with HLT. Where some begin is up to the caller: their targets are relative. */
export const programs = fc.array(
  fc.oneof(straight, loop), { minLength: 1, maxLength: 8 },
).map((parts) => `${parts.join('\n')}\nf4`)
