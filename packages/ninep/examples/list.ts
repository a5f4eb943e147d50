/** A session by hand, as a client has it: version, attach, walk, open, read. */
import {
  createMemoryFiles, createNinePServer, decodeReply, encodeRequest, failed, type Fields, type Values,
} from '@cofferdam/ninep'

const files = createMemoryFiles({
  entries: { 'docs/hello.txt': 'Hello over 9P\n', 'docs/link': { link: 'hello.txt' } },
})
const server = createNinePServer({ files })

function call(name: string, values: Values<Fields>): Values<Fields> {
  const reply = decodeReply(name, server.serve(encodeRequest(name, values), 8192))
  if (failed(reply)) throw new Error(`${name}: error ${reply.errno}`)
  return reply
}

console.log(call('Tversion', { msize: 8192, version: '9P2000.L' }))
call('Tattach', { fid: 0, afid: 0xffff_ffff, uname: 'me', aname: '', uid: 0 })
call('Twalk', { fid: 0, newfid: 1, names: ['docs', 'hello.txt'] })
call('Tlopen', { fid: 1, flags: 0 })
const { data } = call('Tread', { fid: 1, offset: 0n, count: 4096 })
console.log(new TextDecoder().decode(data as Uint8Array).trimEnd())
console.log(call('Tgetattr', { fid: 1, mask: 0n }).size)
