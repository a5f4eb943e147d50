export { createBox, type Box, type BoxOptions } from './box.ts'
export { disassemble, report } from './describe.ts'
export { fuzz, type FuzzOptions, type FuzzResult } from './fuzz.ts'
export { fuzzLines, leftOutReasons, type FuzzLine, type Group } from './lines.ts'
