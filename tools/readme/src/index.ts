export { checkReadme, examplesOf, expectedOutput, readmeOf, runExample, type Run } from './examples.ts'
export { fill, markers, shows, type Marker } from './readme.ts'
