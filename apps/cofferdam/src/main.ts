#!/usr/bin/env node
import { setFlagsFromString } from 'node:v8'
import { keepCompiledCode } from './compile-cache.ts'

// What V8 holds for new objects stays as small as it is now. It would grow by tens of megabytes beside the guest's
// memory and win little time: what a machine makes anew is decoded code, which lives long (npm run bench: peak memory
// 1.46 to 1.36 times QEMU's, the boot 2 % slower).
setFlagsFromString('--semi-space-growth-factor=1')

// Everything else is loaded from here, so that its compiled code may come from the cache.
keepCompiledCode()
const { start } = await import('./start.ts')
await start()
