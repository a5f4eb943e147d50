// A guest's GHCB page, decoded as a host does it: copied once, and only what the valid bitmap marks counts.
import { answerGhcb, readGhcb, terminationText } from '@cofferdam/host'
import { Ghcb, SvmExit } from '@cofferdam/spec'

const memory = new Uint8Array(4096)
const shared = {
  read(address: number, target: Uint8Array): boolean {
    target.set(memory.subarray(address, address + target.length))
    return true
  },
  write(address: number, bytes: Uint8Array): boolean {
    memory.set(bytes, address)
    return true
  },
}

// The guest's part: "IN AL, 0x3FD" as its #VC handler puts it.
const view = new DataView(memory.buffer)
const put = (field: 'swExitCode' | 'swExitInfo1' | 'swExitInfo2', value: bigint): void => {
  const offset = Ghcb.offset[field]
  view.setBigUint64(offset, value, true)
  memory[Ghcb.offset.validBitmap + (offset >> 6)] |= 1 << (offset >> 3 & 7)
}
put('swExitCode', BigInt(SvmExit.IOIO))
put('swExitInfo1', 0x03fd_0011n)
put('swExitInfo2', 0n)
Ghcb.set(view, 'protocolVersion', 2)
Ghcb.set(view, 'rbx', 0x1234n) // not marked: nobody may look at it

const request = readGhcb(shared, 0)
if (request !== undefined && !('error' in request)) {
  const { code, info1, register } = request
  console.log(`exit 0x${code.toString(16)}, port 0x${(info1 >> 16n).toString(16)}, RBX is ${register('rbx')}`)
  answerGhcb(shared, 0, request.page, { registers: { rax: 0x60n } })
}
console.log(`RAX 0x${Ghcb.get(view, 'rax').toString(16)}, SW_EXITINFO1 ${Ghcb.get(view, 'swExitInfo1')}`)

// And what guests mean when they give up.
for (const [set, reason] of [[1, 2], [0, 2], [0xc, 5]]) console.log(terminationText(set, reason))
