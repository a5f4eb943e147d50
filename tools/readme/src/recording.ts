/** `npm run recording`: draws the recording that the README shows. */
import { join } from 'node:path'
import { root } from '@cofferdam/tool-workspace'
import { record } from './record.ts'

const to = join(root, 'apps/cofferdam/assets/boot.svg')
const run = "uname -sr; dmesg | grep 'Memory Encryption'; grep -E 'MemTotal|Unaccepted' /proc/meminfo"
await record(
  ['--cc', 'snp', '--append', 'cryptomgr.notests=1', '--run', run], 'Linux boots as an SEV-SNP guest in Cofferdam', to,
)
console.log('apps/cofferdam/assets/boot.svg is drawn')
