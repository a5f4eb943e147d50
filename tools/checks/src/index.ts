export { bundleForBrowser, bundleScript, loadWithoutNode, type Bundle } from './browser.ts'
export { ensureBuilt } from './build.ts'
export { must, run, type Ended } from './run.ts'
export { filesIn, lintTarball, pack, typeProblems } from './tarball.ts'
