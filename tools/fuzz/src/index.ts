export { createBox, type Box, type BoxOptions } from './box.ts'
export { disassemble, fuzz, report, type FuzzOptions, type FuzzResult } from './fuzz.ts'
export { fuzzLines, LEFT_OUT, type FuzzLine, type Group } from './lines.ts'
