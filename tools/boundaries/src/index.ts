export { checkBoundaries, type Problem } from './check.ts'
export { cycles } from './cycles.ts'
export { importsOf, type Import } from './imports.ts'
export { layerOf, layers, mayImport, type Layer } from './layers.ts'
