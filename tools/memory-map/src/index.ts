export { bytes, drawMemory, type Item, type Kind, type Picture, type Strip, type Track } from './draw.ts'
export { pictureOf } from './machine.ts'
export { textWidth } from './svg.ts'
