/** `npm run recording`: draws the recording that the README shows. */
import { join } from 'node:path'
import { root } from '@cofferdam/tool-workspace'
import { record } from './record.ts'

const to = join(root, 'apps/cofferdam/assets/boot.svg')
const run = "uname -sr; grep -m1 'model name' /proc/cpuinfo; free -m | head -2"
await record(['--append', 'cryptomgr.notests=1', '--run', run], 'Linux boots to a shell in Cofferdam', to)
console.log('apps/cofferdam/assets/boot.svg is drawn')
